"""Folders of the user's own pictures as a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import GanzooError, ImageDataset, Split

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """Files, labels and class names; no class names where there are no subfolders."""
    from torchvision.datasets.folder import ImageFolder, is_image_file

    try:
        if any(entry.is_dir() for entry in folder.iterdir()):
            tree = ImageFolder(str(folder))
            return [Path(file) for file, _ in tree.samples], tree.targets, tuple(tree.classes)
        files = sorted(entry for entry in folder.iterdir() if is_image_file(entry.name))
    except OSError as error:
        raise GanzooError(
            f"The folder of pictures {folder} cannot be read: {error}.",
            "Check dataset.path.",
        ) from error
    return files, [0] * len(files), ()


def _share(count: int, split: Split) -> list[int]:
    """Nine tenths for training and the rest for testing, the same on every call."""
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0)).tolist()
    held_out = count // 10
    return sorted(order[held_out:] if split == "train" else order[:held_out])


def _stack(files: Sequence[Path], size: int | None, channels: Literal[1, 3]) -> Tensor:
    pictures: list[Tensor] = []
    for file in files:
        pictures.append(_picture(file, size, channels))
        if pictures[-1].shape != pictures[0].shape:
            sizes = ["x".join(map(str, pictures[place].shape[1:])) for place in (-1, 0)]
            raise GanzooError(
                f"The picture {file} is {sizes[0]} pixels high and wide, and {files[0]} is {sizes[1]}.",
                "Set dataset.size to scale and crop them all.",
            )
    return torch.stack(pictures)


def _picture(file: Path, size: int | None, channels: Literal[1, 3]) -> Tensor:
    from PIL import Image, ImageOps
    from torchvision.transforms.functional import pil_to_tensor

    try:
        with Image.open(file) as stored:
            picture = ImageOps.exif_transpose(stored).convert("L" if channels == 1 else "RGB")
        if size is not None:
            picture = ImageOps.fit(picture, (size, size), Image.Resampling.BICUBIC)
    # Pillow's readers of its many formats let each other's exceptions through.
    except Exception as error:
        raise GanzooError(f"The picture {file} cannot be read: {error}.", "Replace or remove it.") from error
    tensor: Tensor = pil_to_tensor(picture)
    return tensor
