"""Folders and zip archives of the user's own pictures as a dataset."""

from __future__ import annotations

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext
from functools import cache
from math import prod
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, GanzooError, Split, ZippedFile, ZippedFiles, check_bytes, open_picture

Picture = Path | ZippedFile
ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""File name extensions of pictures, the same as torchvision's."""

READ = f"ganzoo reads files that end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
"""The remedy if there are no pictures."""

SPLITS: tuple[Split, Split] = ("train", "test")

SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
"""Common names of the splits of a dataset, in lower case."""

LARGEST_NATIVE, LARGEST_AUTO = 128, 64
"""``size: auto`` leaves pictures of equal size unchanged up to the first limit, and scales all others to at most the
second: sizes that a network can learn without a data centre."""

GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes without colour."""

LEAST_OF_16_BITS = 2**12
"""If all 16-bit pictures are darker than this, they hold 12 bits or fewer, and would be nearly black."""

logger = logging.getLogger(__name__)


def image_folder(
    split: Split,
    folder: Path | None,
    *,
    path: str,
    size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = None,
    channels: Literal[1, 3, "auto"] = 3,
) -> Dataset:
    """The user's own pictures; subfolders are classes. Transparent pictures are put on a white background.

    Args:
        split: ``"train"`` or ``"test"``: the subfolders of these names, otherwise nine tenths and one tenth of all,
            where the tenth leaves every class a picture to train on if there are enough others.
        folder: The user's ``--data-dir``, which ``path`` is relative to, or None.
        path: Folder of pictures, or of one folder of pictures for each class; or a zip archive of either, in which
            everything may be inside an outer folder.
        size: Height and width that pictures are scaled and cropped to; None if all have the same size already. ``auto``
            leaves small pictures of equal size as they are, and makes all others square, as large as all of them allow:
            64, 32, 16 or 8.
        channels: 1 for grey, 3 for colour; ``auto`` is 1 if no picture has a colour mode.

    Raises:
        GanzooError: There are no pictures, or one cannot be read, or they differ in size; subfolders are named like
            splits, but are not ``train`` and ``test``; or ``path`` is neither a folder nor a zip archive.
    """
    root = Path(path).expanduser() if folder is None else folder / path
    try:  # no system accepts a path with a NUL in it, or one that is too long
        root.stat()
    except (OSError, ValueError) as error:
        raise GanzooError(
            f"The folder of pictures {root} cannot be read: {error}.",
            "Check dataset.path. If the pictures of a run have moved, resume it with --data and their new place.",
        ) from error
    if root.is_file() and root.suffix.lower() != ".zip" and not zipfile.is_zipfile(root):
        raise GanzooError(
            f"{root} is neither a folder nor a zip archive.",
            "Give the folder that it is in."
            if root.name.lower().endswith(ENDINGS)
            else "Give a folder of pictures, or a zip archive of one.",
        )
    others = Counter[str]()
    with ZippedFiles(root) if root.is_file() else nullcontext() as archive:
        if archive is None:
            divided = (root / "train").is_dir() and (root / "test").is_dir()
            if divided:
                _warn_unused(root, *(name for name in sorted(SPLIT_NAMES) if (root / name).is_dir()))
            within = {one: root / one for one in SPLITS} if divided else {split: root}
            parts = {one: _pictures(folder, others) for one, folder in within.items()}
        else:
            named = _without_outer_folder(archive, others)
            folders = {place[0] for place in named if len(place) > 1}
            divided = {*SPLITS} <= folders
            if divided:
                _warn_unused(root, *sorted(folders))
            parts = {one: _zipped(archive, named, one) for one in SPLITS} if divided else {}
            parts = parts or {split: _zipped(archive, named, None)}
        files, labels, classes = parts[split]
        if divided and not files:
            raise GanzooError(f"The folder {split} in {root} has no pictures.", f"Put some into it. {READ}")
        if len({classes for _, _, classes in parts.values()}) > 1:
            raise GanzooError(
                f"The folders train and test in {root} have different classes.",
                "Give their subfolders the same names.",
            )
        _check_classes(root, classes)
        if not files:
            raise GanzooError(f"{root} has no pictures{_but(others)}.", READ)
        if others:
            _warn(f"Not read in {root}: {_counted(others)}. {READ}")
        if size == "auto" or channels == "auto":
            everything = [file for pictures, _, _ in parts.values() for file in pictures]  # both splits alike
            common, grey = _common(everything, warn=size == "auto")
            size = common if size == "auto" else size
            channels = (1 if grey else 3) if channels == "auto" else channels
        chosen = range(len(files)) if divided else _share(labels or [0] * len(files), split)
        if not chosen:
            raise GanzooError(
                f"{root} has no pictures for '{split}'.",
                f"It has {len(files)}; a training and a test split need at least two.",
            )
        images = _stack([files[index] for index in chosen], size, channels, split)
    kept = torch.tensor([labels[index] for index in chosen]) if classes else None
    return Dataset("image-folder", split, images, kept, classes)


def _check_classes(root: Path, classes: Sequence[str]) -> None:
    """Refuse class names that are names of splits, and names that a run's JSON files cannot hold."""
    if classes and all(name.lower() in SPLIT_NAMES for name in classes):
        raise GanzooError(
            f"Subfolders of {root} are named like splits, not like classes: {', '.join(classes)}.",
            "Name them train and test, in lower case, or give a folder whose subfolders are classes.",
        )
    for name in classes:
        if any("\ud800" <= letter <= "\udfff" for letter in name):  # how Python reads bytes that are not UTF-8
            raise GanzooError(f"The name of the class folder {root / name} is not UTF-8.", "Rename the folder.")


@cache  # a dataset is loaded several times; one warning is enough
def _warn(sentence: str) -> None:
    logger.warning("%s", GanzooError(sentence))  # which escapes control characters in the names of files


def _warn_unused(root: Path, *folders: str) -> None:
    """Warn about splits other than ``train`` and ``test``, which are not read."""
    for name in folders:
        if name not in SPLITS and name.lower() in SPLIT_NAMES:
            _warn(f"{root / name} is not read: ganzoo takes validation images from train.")


def _counted(others: Counter[str]) -> str:
    """How many files there are, and their three commonest endings: ``30 files (.gif, .txt)``."""
    endings = sorted(others, key=lambda ending: (-others[ending], ending))
    endings[3:] = ["..."] * (len(endings) > 3)
    return f"{others.total():,} file{'' if others.total() == 1 else 's'} ({', '.join(endings)})"


def _but(others: Counter[str]) -> str:
    """The end of a sentence about missing pictures: what there is instead."""
    return f", but {_counted(others)}" if others else ""


def _ending(name: str) -> str:
    """A file's ending in lower case, with its dot; ``no ending`` without one."""
    return PurePosixPath(name).suffix.lower() or "no ending"


def _without_outer_folder(archive: ZippedFiles, others: Counter[str]) -> dict[tuple[str, ...], str]:
    """The archive's pictures by the parts of their paths, without hidden ones or folders that enclose them all.

    Other files are counted by their ending in ``others``.
    """
    # Some Windows programs write backslashes, against the format's rules.
    named = {PurePosixPath(name.replace("\\", "/")).parts: name for name in archive.names}
    if any(".." in parts for parts in named):
        raise GanzooError(f"{archive.path} has files with '..' in their paths.", "Pack the folder of pictures itself.")
    named = {parts: name for parts, name in named.items() if not any(map(_is_hidden, parts))}
    others.update(_ending(name) for name in named.values() if not name.lower().endswith(ENDINGS))
    named = {parts: name for parts, name in named.items() if name.lower().endswith(ENDINGS)}
    # The outermost folder may hold the pictures themselves; one inside it would then be their class.
    least = 2
    while len({parts[0] for parts in named}) == 1 and all(len(parts) >= least for parts in named):
        named, least = {parts[1:]: name for parts, name in named.items()}, 3
    return named


def _zipped(
    archive: ZippedFiles, named: dict[tuple[str, ...], str], split: Split | None
) -> tuple[list[Picture], list[int], tuple[str, ...]]:
    """Like ``_pictures``, for an archive."""
    if split is not None:
        named = {parts[1:]: name for parts, name in named.items() if parts[0] == split and len(parts) > 1}
    # In the order of ``_pictures``, so that a folder and its archive are divided alike.
    named = {parts: named[parts] for parts in sorted(named, key=lambda one: (one[0], "/".join(one[:-1]), one[-1]))}
    classes = sorted({parts[0] for parts in named if len(parts) > 1})
    if classes and any(len(parts) == 1 for parts in named):
        raise _beside(archive.path, classes)
    files: list[Picture] = [ZippedFile(archive, name) for name in named.values()]
    numbers = {name: number for number, name in enumerate(classes)}
    return files, [numbers[parts[0]] for parts in named] if classes else [], tuple(classes)


def _is_hidden(name: str) -> bool:
    """Whether a name belongs to the files and folders that systems and tools leave next to pictures."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _beside(root: Path, classes: Sequence[str]) -> GanzooError:
    return GanzooError(
        f"{root} has pictures next to the subfolder{'s' if len(classes) > 1 else ''} {', '.join(classes[:3])}"
        f"{', ...' if len(classes) > 3 else ''}.",
        "Subfolders are classes: move every picture into one, or move the subfolders elsewhere.",
    )


def _common(files: Sequence[Picture], *, warn: bool) -> tuple[int | None, bool]:
    """The size that suits all pictures (None: their own), and whether none has colour. Reads only headers.

    With ``warn``, the smallest picture is named if most pictures are large enough for a larger size.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    sizes, grey = list[tuple[int, int]](), True
    for file in files:
        with open_picture(file) as picture:
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # the camera was held upright
            # Newer versions of Pillow swap the size of a turned TIFF, older ones do not; its tags are never swapped.
            stored = (picture.tag_v2[256], picture.tag_v2[257]) if isinstance(picture, TiffImageFile) else picture.size
            sizes.append((stored[1], stored[0]) if turned else (stored[0], stored[1]))
            grey = grey and picture.mode in GREY
    if len(set(sizes)) <= 1 and all(max(size) <= LARGEST_NATIVE for size in sizes):
        return None, grey
    smallest = min(range(len(files)), key=lambda index: min(sizes[index]))
    typical = sorted(map(min, sizes))[len(sizes) // 2]
    common, larger = (
        max(8, min(LARGEST_AUTO, 2 ** (side.bit_length() - 1))) for side in (min(sizes[smallest]), typical)
    )
    if warn and common < larger:
        width, height = sizes[smallest]
        _warn(
            f"dataset.size: auto makes all pictures {common}x{common}, because {files[smallest]} is {width} pixels "
            f"wide and {height} high. Most would allow {larger}x{larger}: remove the small ones, or set "
            f"dataset.size={larger}."
        )
    return common, grey


def _pictures(folder: Path, others: Counter[str]) -> tuple[list[Picture], list[int], tuple[str, ...]]:
    """Files, labels and class names; no class names if there are no subfolders. ``others`` counts the other files.

    The order is that of torchvision's ImageFolder, whose own search follows links in circles.
    """
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not _is_hidden(entry.name))
        loose = _files(folder, others, into_subfolders=False)
        if not classes:
            return loose, [], ()
        if loose:
            raise _beside(folder, classes)
        files: list[Picture] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            inside = Counter[str]()
            pictures = _files(folder / name, inside)
            if not pictures:
                raise GanzooError(
                    f"The folder {folder / name} is a class without pictures{_but(inside)}.",
                    f"Put some into it, or remove it.{f' {READ}' if inside else ''}",
                )
            others.update(inside)
            files += pictures
            labels += [label] * len(pictures)
    except OSError as error:
        raise GanzooError(f"The folder of pictures {folder} cannot be read: {error}.", "Check dataset.path.") from error
    return files, labels, tuple(classes)


def _files(folder: Path, others: Counter[str], *, into_subfolders: bool = True) -> list[Picture]:
    """All files below a folder that have a picture's ending, folder by folder. ``others`` counts the other endings."""
    pictures: list[tuple[str, str]] = []
    waiting = [str(folder)]
    while waiting:
        inside = waiting.pop()
        with os.scandir(inside) as entries:
            for entry in entries:
                if _is_hidden(entry.name):
                    continue
                if into_subfolders and entry.is_dir():
                    if entry.is_symlink():
                        raise GanzooError(
                            f"{entry.path} is a link to a folder, which may lead in circles.",
                            "Copy the folder instead; only the folder of a class may be a link.",
                        )
                    waiting.append(entry.path)
                elif entry.name.lower().endswith(ENDINGS):
                    pictures.append((inside, entry.name))
                elif entry.is_file(follow_symlinks=False):  # a link may lead in circles
                    others[_ending(entry.name)] += 1
    return [Path(inside, name) for inside, name in sorted(pictures)]


def _share(labels: Sequence[int], split: Split) -> list[int]:
    """Nine tenths for training and the rest, at least two of four, for testing, the same on every call.

    The test split takes the last picture of a class only if all other pictures are taken.
    """
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0)).tolist()
    left, spare, last = Counter(labels), list[int](), list[int]()
    for index in order:
        left[labels[index]] -= 1
        (spare if left[labels[index]] else last).append(index)
    held_out = max(len(order) // 10, min(2, len(order) // 2))
    order = spare + last
    return sorted(order[held_out:] if split == "train" else order[:held_out])


def _stack(files: Sequence[Picture], size: int | None, channels: Literal[1, 3], split: Split) -> Tensor:
    """All pictures as uint8 (n, channels, h, w), after a check that they fit into memory."""
    from PIL import Image, ImageOps
    from PIL.Image import Resampling
    from torchvision.transforms.functional import pil_to_tensor

    stacked, brightest = torch.empty(0), -1
    for index, file in enumerate(files):
        with open_picture(file) as picture:
            if index == 0:
                what = file.archive.path if isinstance(file, ZippedFile) else file.parent
                check_bytes(what, len(files) * channels * (size * size if size else prod(picture.size)))
                first = picture.size
            if size is None and sorted(picture.size) != sorted(first):
                raise _of_another_size(file, picture.size, files[0], first)
            ImageOps.exif_transpose(picture, in_place=True)
            if picture.mode == "F" or (picture.mode == "I" and picture.format == "TIFF"):
                raise GanzooError(
                    f"The picture {file} has 32 bits per channel, and there is no agreed level for white.",
                    "Convert it to 8 or 16 bits.",
                )
            if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off instead of scale
                levels = picture.convert("I")
                brightest = max(brightest, cast("tuple[int, int]", levels.getextrema())[1])
                opaque = levels.point(lambda level: level * (1 / 256) + 0).convert("L")
            elif picture.has_transparency_data:
                white = Image.new("RGBA", picture.size, "white")
                opaque = Image.alpha_composite(white, picture.convert("RGBA"))
            else:
                opaque = picture
            upright = opaque.convert("L" if channels == 1 else "RGB")
            if size is not None:
                upright = ImageOps.fit(upright, (size, size), Resampling.BICUBIC)
            pixels = pil_to_tensor(upright)
        if index == 0:
            stacked = torch.empty(len(files), *pixels.shape, dtype=torch.uint8)
        if pixels.shape != stacked.shape[1:]:
            raise _of_another_size(file, upright.size, files[0], (stacked.shape[3], stacked.shape[2]))
        stacked[index] = pixels
    if split == "train" and 0 <= brightest < LEAST_OF_16_BITS:  # the few in a test split may be dark by chance
        raise GanzooError(
            f"The 16-bit pictures of {what} are nearly black: their brightest level is {brightest:,} of 65,535.",
            "Scale them to the full 16 bits, or convert them to 8 bits.",
        )
    return stacked


def _of_another_size(file: Picture, size: tuple[int, int], first: Picture, other: tuple[int, int]) -> GanzooError:
    (width, height), (other_width, other_height) = size, other
    return GanzooError(
        f"The picture {file} is {width} pixels wide and {height} high, but {first} is {other_width} wide and "
        f"{other_height} high.",
        "Set dataset.size to scale and crop them all.",
    )
