"""Pictures from elsewhere: a folder of PNGs, an .npz file, or whatever a function returns."""

from __future__ import annotations

import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass, replace
from math import prod
from tokenize import TokenError
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation.extractors import written

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from PIL import Image

MOST_BYTES = 4 * 10**9
OTHER_PICTURES = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
DAMAGE = (
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError, RuntimeError, ValueError,
    OverflowError,
)  # fmt: skip
"""What Python's readers of archives raise."""
NPZ_REMEDY = "Save it with numpy.savez(FILE, images=...): uint8, (n, h, w) or (n, h, w, c)."


@dataclass(frozen=True)
class Pictures:
    """Images to be judged.

    Attributes:
        images: uint8 (n, c, h, w), or points, float32 (n, 1, 1, d).
        labels: int64 (n,), or None.
        notes: Sentences about what was done to them.
    """

    images: Tensor
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()

    def noted(self, sentence: str, images: Tensor, labels: Tensor | None) -> Pictures:
        """Other images, with one more note."""
        return Pictures(images, labels, (*self.notes, sentence))

    def fitted(self, shape: tuple[int, int, int], *, crop: bool = False) -> Pictures:
        """The same pictures with the channels of a dataset, where no pixel is lost by that.

        Args:
            shape: (channels, height, width) of the dataset.
            crop: Whether a border that is black in all of them may be cut off.

        Raises:
            GanzooError: They are of another size, or coloured where the dataset is grey.
        """
        if self.images.shape[2:] != shape[1:]:
            return self._cropped(shape, crop).fitted(shape)
        channels = self.images.shape[1]
        if channels == shape[0]:
            return self
        if channels == 1:
            return self.noted("Grey pictures: tiled to RGB.", self.images.expand(-1, 3, -1, -1), self.labels)
        if (self.images[:, :1] != self.images).any():
            raise GanzooError(
                "The pictures are coloured and the dataset is grey.",
                "Turn them into grey ones yourself: there is more than one way to.",
            )
        return self.noted("RGB pictures with equal channels: one is kept, as grey.", self.images[:, :1], self.labels)

    def _cropped(self, shape: tuple[int, int, int], crop: bool) -> Pictures:
        """Without the border around the dataset's size, which must be black in every picture."""
        sizes = f"The pictures are {written(_shape(self.images))}, the dataset's {written(shape)}"
        height, width = self.images.shape[2] - shape[1], self.images.shape[3] - shape[2]
        if height < 0 or width < 0 or height % 2 or width % 2:
            raise GanzooError(
                f"{sizes}.", "Nothing is resampled, because that alone changes a score; generate them at that size."
            )
        top, left = height // 2, width // 2
        inner = self.images[:, :, top : top + shape[1], left : left + shape[2]]
        if inner.count_nonzero() != self.images.count_nonzero():
            raise GanzooError(
                f"{sizes}, and the border between is not black in all of them.",
                "Nothing is resampled and nothing but black is cut off; generate them at the dataset's size.",
            )
        if not crop:
            raise GanzooError(f"{sizes}, with a border that is black in all of them.", "Cut it off with --crop.")
        return self.noted(f"A black border was cut off: {written(_shape(inner))} is left.", inner, self.labels)

    def at_most(self, n: int, seed: int) -> Pictures:
        """``n`` of them, drawn without replacement; all where there are no more."""
        if len(self.images) < n:
            return replace(self, notes=(*self.notes, f"There are {len(self.images):,} pictures, not {n:,}."))
        if len(self.images) == n:
            return self
        chosen = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))[:n]
        labels = None if self.labels is None else self.labels[chosen]
        return self.noted(
            f"{n:,} of {len(self.images):,} pictures, drawn with seed {seed}.", self.images[chosen], labels
        )


def read_pictures(path: Path) -> Pictures:
    """Pictures from a folder of PNGs or an .npz file.

    Raises:
        GanzooError: It is neither, or its content is damaged, too large or ambiguous.
    """
    try:
        return _read(path)
    except OSError as error:
        raise GanzooError(f"{path} cannot be read ({error.strerror}).", NPZ_REMEDY) from error
    except MemoryError as error:
        raise GanzooError(f"{path} holds more than memory does.", "Give fewer images.") from error


def _read(path: Path) -> Pictures:
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() == ".npz" and path.is_file():
        return _read_npz(path)
    if not path.exists():
        raise GanzooError(
            f"There is no {path}.", "Give a run folder, a folder of PNGs, an .npz file or module:function."
        )
    raise GanzooError(f"{path} is no run, no folder of PNGs and no .npz file.", NPZ_REMEDY)


def _read_folder(folder: Path) -> Pictures:
    files = sorted(p for p in folder.iterdir() if p.is_file() and not p.name.startswith("."))
    pngs = [file for file in files if file.suffix.lower() == ".png"]
    others = [file.name for file in files if file.suffix.lower() in OTHER_PICTURES]
    if others:
        raise GanzooError(
            f"{folder} holds {len(others):,} pictures that are no PNGs, such as {others[0]}.",
            "Lossy or other formats are not scored; keep only PNGs in the folder.",
        )
    if not pngs:
        raise GanzooError(f"{folder} is no run and holds no PNGs.", "Subfolders are not searched.")
    form = _form(pngs[0])
    _refuse_size(folder, len(pngs) * prod(form[1]) * len(form[0]))
    pixels = torch.stack([_pixels(file, form) for file in pngs])
    return Pictures(pixels, notes=(f"{len(pngs):,} PNGs, {written(_shape(pixels))}.",))


def _pixels(file: Path, form: tuple[str, tuple[int, int]]) -> Tensor:
    """One picture (c, h, w), which must be like the first."""
    import numpy as np

    if (found := _form(file)) != form:
        raise GanzooError(
            f"{file.name} is {_told(found)}, and the first picture of the folder is {_told(form)}.",
            "All pictures must be of one size and kind.",
        )
    try:
        with _opened(file) as picture:
            pixels = torch.from_numpy(np.array(picture))
    except (OSError, SyntaxError, ValueError) as error:
        raise GanzooError(f"The picture {file} is damaged ({error}).", "Remove it or write it again.") from error
    return pixels[None] if pixels.dim() == 2 else pixels.permute(2, 0, 1)


def _form(file: Path) -> tuple[str, tuple[int, int]]:
    """Mode and size of a picture, from its header."""
    with _opened(file) as picture:
        form = picture.mode, picture.size
    if form[0] not in ("L", "RGB"):
        raise GanzooError(
            f"The picture {file} is of mode {form[0]}.",
            "Write it as 8-bit grey or RGB, without palette or transparency.",
        )
    return form


def _opened(file: Path) -> Image.Image:
    from PIL import Image, UnidentifiedImageError

    try:
        return Image.open(file, formats=["PNG"])
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        raise GanzooError(f"The picture {file} cannot be read ({error}).", "Remove it or write it again.") from error


def _told(form: tuple[str, tuple[int, int]]) -> str:
    mode, (width, height) = form
    return written((len(mode), height, width))


def _read_npz(path: Path) -> Pictures:
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
        f"{len(found):,} images, {written(_shape(found))}." if found.dtype == torch.uint8 else f"{len(found):,} points."
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
    _refuse_size(path, prod(shape) * dtype.itemsize)
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


def _refuse_size(path: Path, n_bytes: int) -> None:
    if n_bytes > MOST_BYTES:
        raise GanzooError(
            f"{path} says it holds {n_bytes / 1e9:,.0f} GB.",
            f"More than {MOST_BYTES / 1e9:.0f} GB are not read; give fewer images.",
        )


def _shape(images: Tensor) -> tuple[int, int, int]:
    channels, height, width = images.shape[1:]
    return channels, height, width
