"""Folders of the user's own pictures as a dataset."""

from __future__ import annotations

import os
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import GanzooError, ImageDataset, Split, check_bytes, open_picture

if TYPE_CHECKING:
    from collections.abc import Sequence

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Of the names of pictures, as torchvision has them."""

MOST_ENTRIES = 10_000_000
"""Files and folders below the folder of a class."""


def image_folder(
    split: Split,
    folder: Path | None,
    *,
    path: str,
    size: Annotated[int, Field(ge=1, le=4096)] | None = None,
    channels: Literal[1, 3] = 3,
) -> ImageDataset:
    """Pictures of one's own; subfolders are classes.

    Args:
        split: ``"train"`` or ``"test"``: the subfolders of these names, or else nine tenths and one tenth.
        folder: The user's ``--data-dir``, which ``path`` is relative to, or None.
        path: Folder of pictures, or of one folder of pictures for each class.
        size: Height and width that pictures are scaled and cropped to; None where all have one size already.
        channels: 1 for grey, 3 for colour.

    Raises:
        GanzooError: There is no picture, or one cannot be read, or they differ in size.
    """
    root = Path(path).expanduser() if folder is None else folder / path
    _refuse_odd(root)
    divided = (root / "train").is_dir() and (root / "test").is_dir()
    files, labels, classes = _pictures(root / split if divided else root)
    if divided and classes != _pictures(root / "train")[2]:
        raise GanzooError(
            f"The folders train and test in {root} have different classes.",
            "Give their subfolders the same names.",
        )
    chosen = range(len(files)) if divided else _share(len(files), split)
    if not chosen:
        raise GanzooError(
            f"The folder {root} has no pictures for '{split}'.",
            "Ten pictures are the least that can be divided in two.",
        )
    images = _stack([files[index] for index in chosen], size, channels)
    kept = torch.tensor([labels[index] for index in chosen]) if classes else None
    return ImageDataset("image-folder", split, images, kept, classes)


def _refuse_odd(root: Path) -> None:
    """A path that no system has: with a NUL in it, or too long."""
    try:
        root.stat()
    except (OSError, ValueError) as error:
        raise GanzooError(f"The folder of pictures {root} cannot be read: {error}.", "Check dataset.path.") from error


def _pictures(folder: Path) -> tuple[list[Path], list[int], tuple[str, ...]]:
    """Files, labels and class names; no class names where there are no subfolders.

    The order is that of torchvision's ImageFolder, whose own search follows links in circles.
    """
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir())
        if not classes:
            return _files(folder, into_subfolders=False), [], ()
        files: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            found = _files(folder / name)
            if not found:
                raise GanzooError(
                    f"The folder {folder / name} is a class without pictures.", "Put some into it, or remove it."
                )
            files += found
            labels += [label] * len(found)
    except OSError as error:
        raise GanzooError(f"The folder of pictures {folder} cannot be read: {error}.", "Check dataset.path.") from error
    return files, labels, tuple(classes)


def _files(folder: Path, *, into_subfolders: bool = True) -> list[Path]:
    """Everything below a folder whose name says that it is a picture, folder by folder."""
    found: list[tuple[str, str]] = []
    waiting, seen = [str(folder)], 0
    while waiting:
        inside = waiting.pop()
        with os.scandir(inside) as entries:
            for entry in entries:
                seen += 1
                if seen > MOST_ENTRIES:
                    raise GanzooError(f"The folder {folder} holds more than {MOST_ENTRIES:,} files.", "Divide it.")
                if into_subfolders and entry.is_dir():
                    if entry.is_symlink():
                        raise GanzooError(
                            f"{entry.path} is a link to a folder, which may lead in circles.",
                            "Copy the folder instead; only the folder of a class may be a link.",
                        )
                    waiting.append(entry.path)
                elif entry.name.lower().endswith(ENDINGS):
                    found.append((inside, entry.name))
    return [Path(inside, name) for inside, name in sorted(found)]


def _share(count: int, split: Split) -> list[int]:
    """Nine tenths for training and the rest for testing, the same on every call."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    held_out = count // 10
    return sorted(order[held_out:] if split == "train" else order[:held_out])


def _stack(files: Sequence[Path], size: int | None, channels: Literal[1, 3]) -> Tensor:
    """All pictures as uint8 (n, channels, h, w); their headers have said before that they fit into memory."""
    from PIL import ImageOps
    from PIL.Image import Resampling
    from torchvision.transforms.functional import pil_to_tensor

    stacked = torch.empty(0)
    for index, file in enumerate(files):
        with open_picture(file) as picture:
            if index == 0:
                check_bytes(files[0].parent, len(files) * channels * (size * size if size else prod(picture.size)))
                first = picture.size
            if size is None and sorted(picture.size) != sorted(first):
                raise _of_another_size(file, picture.size, files[0], first)
            ImageOps.exif_transpose(picture, in_place=True)
            upright = picture.convert("L" if channels == 1 else "RGB")
            if size is not None:
                upright = ImageOps.fit(upright, (size, size), Resampling.BICUBIC)
            pixels = pil_to_tensor(upright)
        if index == 0:
            stacked = torch.empty(len(files), *pixels.shape, dtype=torch.uint8)
        if pixels.shape != stacked.shape[1:]:
            raise _of_another_size(file, upright.size, files[0], (stacked.shape[3], stacked.shape[2]))
        stacked[index] = pixels
    return stacked


def _of_another_size(file: Path, size: tuple[int, int], first: Path, wanted: tuple[int, int]) -> GanzooError:
    found, other = (f"{height}x{width}" for width, height in (size, wanted))
    return GanzooError(
        f"The picture {file} is {found} pixels high and wide, and {first} is {other}.",
        "Set dataset.size to scale and crop them all.",
    )
