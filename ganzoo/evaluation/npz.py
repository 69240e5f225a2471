"""Arrays of pictures in an .npz file: plain numbers alone, and never more than memory bears."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from math import prod
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation.extractors import written
from ganzoo.evaluation.pictures import Pictures, refuse_size, shape_of

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
"""What Python's readers of archives raise."""
NPZ_REMEDY = "Save it with numpy.savez(FILE, images=...): uint8, (n, h, w) or (n, h, w, c)."


def read_npz(path: Path) -> Pictures:
    """The arrays ``images`` and, where there is one, ``labels``.

    Raises:
        GanzooError: They are damaged, too large, or no pictures.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            images = _array(archive, "images", path)
            labels = _array(archive, "labels", path) if "labels.npy" in archive.namelist() else None
    except DAMAGE as error:
        raise GanzooError(f"{path} is damaged ({error}).", NPZ_REMEDY) from error
    found = _images(images, path)
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != images.shape[:1]):
        raise GanzooError(
            f"The labels in {path} are {labels.dtype} {labels.shape}.",
            "Labels are whole numbers, one for each image.",
        )
    told = (
        f"{len(found):,} images, {written(shape_of(found))}."
        if found.dtype == torch.uint8
        else f"{len(found):,} points."
    )
    return Pictures(found, None if labels is None else torch.from_numpy(labels.astype("int64")), (told,))


def _array(archive: zipfile.ZipFile, name: str, path: Path) -> np.ndarray[Any, Any]:
    """One array, after its header has shown that it is plain numbers and not too many of them."""
    import numpy as np

    if f"{name}.npy" not in archive.namelist():
        raise GanzooError(f"{path} holds no array called '{name}'.", NPZ_REMEDY)
    try:
        with archive.open(f"{name}.npy") as file:
            needed = _refuse_header(file, path)
        if needed > archive.getinfo(f"{name}.npy").file_size:
            raise ValueError("it holds less than it says")
        with archive.open(f"{name}.npy") as file:
            array: np.ndarray[Any, Any] = np.lib.format.read_array(file, allow_pickle=False)
    # NumPy reads the header as Python.
    except (ValueError, TypeError, OverflowError, LookupError, SyntaxError, TokenError) as error:
        raise GanzooError(f"The array '{name}' in {path} cannot be read ({error}).", NPZ_REMEDY) from error
    return array


def _refuse_header(file: Any, path: Path) -> int:
    """The bytes that the array says it has."""
    import numpy as np

    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    version = np.lib.format.read_magic(file)
    if version not in readers:
        raise ValueError(f"unknown format version {version}")
    shape, _, dtype = readers[version](file)
    if dtype.hasobject:
        raise GanzooError(f"{path} holds pickled Python objects, which are never loaded.", NPZ_REMEDY)
    if any(not 0 <= size < 2**62 for size in shape):
        raise ValueError(f"no array has the shape {shape}")
    refuse_size(path, prod(shape) * dtype.itemsize)
    return prod(shape) * dtype.itemsize


def _images(array: np.ndarray[Any, Any], path: Path) -> Tensor:
    """Images (n, c, h, w) from an array (n, h, w) or (n, h, w, c); points (n, 1, 1, d) from (n, 1, d)."""
    if array.dtype == "float32" and array.ndim == 3 and array.shape[1] == 1 and 0 not in array.shape:
        return _points(torch.from_numpy(array), path)
    grey = array.ndim == 3
    if array.dtype != "uint8" or not (grey or (array.ndim == 4 and array.shape[3] in (1, 3))) or 0 in array.shape:
        raise GanzooError(f"The images in {path} are {array.dtype} of shape {array.shape}.", NPZ_REMEDY)
    images = torch.from_numpy(array)
    return images[:, None] if grey else images.permute(0, 3, 1, 2)


def _points(array: Tensor, path: Path) -> Tensor:
    """Points (n, 1, 1, d), as ``ganzoo sample`` writes them."""
    if not bool((array.abs() <= 1).all()):
        raise GanzooError(
            f"Some points in {path} lie outside of [-1, 1], or are no numbers.",
            "Scale them as the dataset's own are: what its generators call 1 is on the page of its plugin.",
        )
    return array[:, None]
