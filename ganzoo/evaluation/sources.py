"""Pictures from elsewhere: a folder of PNGs, an .npz file, or whatever a function returns."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation.extractors import written
from ganzoo.evaluation.npz import NPZ_REMEDY, read_npz
from ganzoo.evaluation.pictures import Pictures, refuse_size, shape_of

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

OTHER_PICTURES = frozenset({".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff"})


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
        return read_npz(path)
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
    refuse_size(folder, len(pngs) * prod(form[1]) * len(form[0]))
    pixels = torch.stack([_pixels(file, form) for file in pngs])
    return Pictures(pixels, notes=(f"{len(pngs):,} PNGs, {written(shape_of(pixels))}.",))


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
