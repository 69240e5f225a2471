"""Folders and zip archives of the user's own pictures as a dataset."""

from __future__ import annotations

import logging
import os
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, cast

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, GanzooError, Split, ZippedFile, ZippedFiles, check_bytes, open_picture

Picture = Path | ZippedFile
Size = tuple[int, int]
"""Width and height, in pixels."""

ENDINGS = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""File name extensions of pictures, the same as torchvision's."""

READ = f"ganzoo reads files that end in {', '.join(ENDINGS[:-1])} or {ENDINGS[-1]}."
"""The remedy if there are no pictures."""

SPLITS: tuple[Split, Split] = ("train", "test")

SPLIT_NAMES = frozenset({"train", "training", "test", "testing", "val", "valid", "validation", "dev", "eval"})
"""Common names of the splits of a dataset, in lower case."""

LARGEST_NATIVE, LARGEST_AUTO = 128, 64
"""``size: auto`` leaves pictures of equal size unchanged up to the first limit, and scales all others to at most the
second: sizes that a network can learn without a data centre. ``largest`` replaces both."""

SMALL = 0.05
"""The share of pictures that may be smaller than the size that ``auto`` chooses: one thumbnail must not decide it."""

SLOWER = 5
"""How many times as long the recipe ``pictures`` trains if sides double; tests/cli/test_own_pictures.py measures it."""

GREY = ("1", "L", "LA", "La", "I", "F", "I;16", "I;16L", "I;16B", "I;16N")
"""Pillow's modes without colour."""

LEAST_OF_16_BITS = 2**12
"""If all 16-bit pictures are darker than this, they hold 12 bits or fewer, and would be nearly black."""

logger = logging.getLogger(__name__)


def image_folder(
    split: Split,
    folder: Path | None,
    *,
    path: str = "",
    size: Annotated[int, Field(ge=1, le=4096)] | Literal["auto"] | None = None,
    largest: Annotated[int, Field(ge=8, le=4096)] | None = None,
    channels: Literal[1, 3, "auto"] = 3,
) -> Dataset:
    """The user's own pictures; subfolders are classes. Transparent pictures are put on a white background.

    Up to a tenth of them is left out if it cannot be read.

    Args:
        split: ``"train"`` or ``"test"``: the subfolders of these names, otherwise nine tenths and one tenth of all,
            where the tenth leaves every class a picture to train on if there are enough others.
        folder: The user's ``--data-dir``, which ``path`` is relative to, or None.
        path: Folder of pictures, or of one folder of pictures for each class; or a zip archive of either, in which
            everything may be inside an outer folder. A recipe for any pictures names none, and is given it by --data.
        size: Height and width that pictures are scaled and cropped to; None if all have the same size already. ``auto``
            leaves small pictures of equal size as they are, and makes all others square, as large as all but a few
            of them allow: 64, 32, 16 or 8.
        largest: With ``size: auto``, the largest side. Pictures of one shape, at most twice as long as wide, then keep
            it instead of being cropped to squares.
        channels: 1 for grey, 3 for colour; ``auto`` is 1 if no picture has a colour mode.

    Raises:
        GanzooError: There are no pictures, or more than a tenth cannot be read, or they differ in size; subfolders are
            named like splits, but are not ``train`` and ``test``; or ``path`` is neither a folder nor a zip archive.
    """
    if not path:
        raise GanzooError("This recipe trains on your own pictures.", "Give their folder: --data FOLDER.")
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
            _warn(root, f"Not read in {root}: {_counted(others)}. {READ}")
        shape = (size, size) if isinstance(size, int) else None
        if size == "auto" or channels == "auto":
            everything = [file for pictures, _, _ in parts.values() for file in pictures]  # both splits alike
            common, grey = common_size(root, everything, largest, warn=size == "auto")
            shape = common if size == "auto" else shape
            channels = (1 if grey else 3) if channels == "auto" else channels
        chosen = range(len(files)) if divided else share_of(labels or [0] * len(files), split)
        if not chosen:
            raise GanzooError(
                f"{root} has no pictures for '{split}'.",
                f"It has {len(files)}; a training and a test split need at least two.",
            )
        at_most = len(files) // 10
        images, left_out = decode_all(root, [files[index] for index in chosen], shape, channels, split, at_most)
    kept = [index for place, index in enumerate(chosen) if place not in left_out]
    known = torch.tensor([labels[index] for index in kept]) if classes else None
    return Dataset("image-folder", split, images, known, classes)


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
def _warn(root: Path, sentence: str) -> None:
    logger.warning("%s", GanzooError(sentence))  # which escapes control characters in the names of files


def _warn_unused(root: Path, *folders: str) -> None:
    """Warn about splits other than ``train`` and ``test``, which are not read."""
    for name in folders:
        if name not in SPLITS and name.lower() in SPLIT_NAMES:
            _warn(root, f"{root / name} is not read: ganzoo takes validation images from train.")


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
    named = {parts: name for parts, name in named.items() if not any(map(is_hidden, parts))}
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


def is_hidden(name: str) -> bool:
    """Whether a name belongs to the files and folders that systems and tools leave next to pictures."""
    return name.startswith(".") or name in ("__MACOSX", "Thumbs.db", "desktop.ini")


def _beside(root: Path, classes: Sequence[str]) -> GanzooError:
    return GanzooError(
        f"{root} has pictures next to the subfolder{'s' if len(classes) > 1 else ''} {', '.join(classes[:3])}"
        f"{', ...' if len(classes) > 3 else ''}.",
        "Subfolders are classes: move every picture into one, or move the subfolders elsewhere.",
    )


def common_size(
    root: Path, files: Sequence[Picture], largest: int | None, *, warn: bool
) -> tuple[tuple[int, int] | None, bool]:
    """The width and height that suit all pictures (None: their own), and whether none has colour. Reads only headers.

    Says what is done to some of the pictures; with ``warn``, also what the size does to all of them.
    """
    from PIL.TiffImagePlugin import TiffImageFile

    sizes, seen = dict[Picture, Size](), Counter[str]()
    for file in files:
        with suppress(GanzooError), open_picture(file) as picture:  # what cannot be read is left out later
            turned = picture.getexif().get(0x0112, 1) in (5, 6, 7, 8)  # the camera was held upright
            # Newer versions of Pillow swap the size of a turned TIFF, older ones do not; its tags are never swapped.
            stored = (picture.tag_v2[256], picture.tag_v2[257]) if isinstance(picture, TiffImageFile) else picture.size
            sizes[file] = (stored[1], stored[0]) if turned else (stored[0], stored[1])
            seen.update(turned=turned, grey=picture.mode in GREY, transparent=picture.has_transparency_data)
    grey = seen["grey"] == len(sizes)
    for count, what in (
        (seen["turned"], "turned upright, as their EXIF tag says"),
        (0 if grey else seen["grey"], "grey, and trained on in colour like the others"),
        (seen["transparent"], "laid on white, since they may be transparent"),
    ):
        if count:
            _warn(root, f"{count:,} of the {len(sizes):,} pictures {'is' if count == 1 else 'are'} {what}.")
    if len(set(sizes.values())) <= 1 and all(max(size) <= (largest or LARGEST_NATIVE) for size in sizes.values()):
        return None, grey
    common = _suiting(sizes, largest or LARGEST_AUTO, keep_shape=largest is not None)
    if warn:
        _warn_of_size(root, sizes, common, largest)
    return common, grey


def _suiting(sizes: Mapping[Picture, Size], limit: int, *, keep_shape: bool) -> Size:
    """The size to scale all pictures to, with sides of at most ``limit``: of the shape that they share, or square.

    Up to ``SMALL`` of the pictures are scaled up to it.
    """
    shapes = [width / height for width, height in sizes.values()]
    widest, narrowest = max(shapes), min(shapes)
    if keep_shape and widest <= 1.02 * narrowest and 1 / 2 <= narrowest <= 2:  # a pixel more or less is no other shape
        side = _power(sorted(map(max, sizes.values()))[int(SMALL * len(sizes))], limit)
        return (side, max(8, round(side / narrowest))) if narrowest > 1 else (max(8, round(side * narrowest)), side)
    side = _power(sorted(map(min, sizes.values()))[int(SMALL * len(sizes))], limit)
    return side, side


def _power(side: int, limit: int) -> int:
    """The largest power of two up to ``side`` and ``limit``, but at least 8."""
    return int(max(8, min(limit, 2 ** (side.bit_length() - 1))))


def _warn_of_size(
    root: Path, sizes: Mapping[Picture, tuple[int, int]], common: tuple[int, int], largest: int | None
) -> None:
    """Say what is cropped or scaled up, which picture shrinks all others, and what a larger size would cost."""
    if any(abs(width * common[1] - height * common[0]) > max(width, height) for width, height in sizes.values()):
        _warn(root, "The pictures are cropped to squares around their middle.")
    by_side = sorted(sizes, key=lambda file: min(sizes[file]))
    if count := sum(min(size) < min(common) for size in sizes.values()):
        smaller = f"{count:,} of the {len(sizes):,} pictures {'is' if count == 1 else 'are'} smaller"
        _warn(root, f"{smaller} than {common[0]}x{common[1]}, and scaled up.")
    decisive, typical = by_side[int(SMALL * len(sizes))], min(sizes[by_side[len(sizes) // 2]])
    larger = _power(typical, largest or LARGEST_AUTO)
    if max(common) < larger:
        width, height = sizes[decisive]
        _warn(
            root,
            f"dataset.size: auto makes all pictures {common[0]}x{common[1]}, because {decisive} is {width} pixels "
            f"wide and {height} high. Most would allow {larger}x{larger}: remove the small ones, or set "
            f"dataset.size={larger}.",
        )
    elif largest and typical >= 2 * largest:
        _warn(
            root,
            f"The pictures are scaled to {common[0]}x{common[1]}. With --set dataset.largest={2 * largest}, training "
            f"takes about {SLOWER} times as long.",
        )


def _pictures(folder: Path, others: Counter[str]) -> tuple[list[Picture], list[int], tuple[str, ...]]:
    """Files, labels and class names; no class names if there are no subfolders. ``others`` counts the other files.

    The order is that of torchvision's ImageFolder, whose own search follows links in circles.
    """
    try:
        classes = sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not is_hidden(entry.name))
        loose = files_below(folder, others, into_subfolders=False)
        if not classes:
            return loose, [], ()
        if loose:
            raise _beside(folder, classes)
        files: list[Picture] = []
        labels: list[int] = []
        for label, name in enumerate(classes):
            inside = Counter[str]()
            pictures = files_below(folder / name, inside)
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


def files_below(folder: Path, others: Counter[str], *, into_subfolders: bool = True) -> list[Picture]:
    """All files below a folder that have a picture's ending, folder by folder. ``others`` counts the other endings."""
    pictures: list[tuple[str, str]] = []
    waiting = [str(folder)]
    while waiting:
        inside = waiting.pop()
        with os.scandir(inside) as entries:
            for entry in entries:
                if is_hidden(entry.name):
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


def share_of(labels: Sequence[int], split: Split) -> list[int]:
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


def decode_all(
    root: Path,
    files: Sequence[Picture],
    size: Size | None,
    channels: Literal[1, 3],
    split: Split,
    at_most: int,
) -> tuple[Tensor, set[int]]:
    """All pictures as uint8 (n, channels, h, w), if they fit into memory, and the places of those that cannot be read.

    Raises:
        GanzooError: More than ``at_most`` cannot be read, or all, or something is wrong with them together.
    """
    stacked, brightest, left_out = torch.empty(0), -1, dict[int, GanzooError]()
    for index, file in enumerate(files):
        try:
            pixels, level = _decoded(file, size, channels)
        except GanzooError as error:
            left_out[index] = error
            first = next(iter(left_out.values()))
            if len(left_out) > at_most > 0:
                raise GanzooError(f"More than a tenth of the pictures cannot be read. {first}") from error
            if len(left_out) > at_most or len(left_out) == len(files):
                raise
            continue
        brightest = max(brightest, level)
        if not stacked.numel():
            check_bytes(root, len(files) * pixels.numel())
            model, stacked = file, torch.empty(len(files), *pixels.shape, dtype=torch.uint8)
        if pixels.shape != stacked.shape[1:]:
            raise _of_another_size(file, pixels, model, stacked)
        stacked[index] = pixels
    if split == "train" and 0 <= brightest < LEAST_OF_16_BITS:  # the few in a test split may be dark by chance
        raise GanzooError(
            f"The 16-bit pictures of {root} are nearly black: their brightest level is {brightest:,} of 65,535.",
            "Scale them to the full 16 bits, or convert them to 8 bits.",
        )
    if left_out:
        count = f"{len(left_out):,} pictures are left out, such as this" if len(left_out) > 1 else "Left out"
        _warn(root, f"{count}: {first.sentence}")
    return stacked[[index for index in range(len(files)) if index not in left_out]], set(left_out)


def _decoded(file: Picture, size: Size | None, channels: Literal[1, 3]) -> tuple[Tensor, int]:
    """A picture as uint8 (channels, h, w), upright and opaque; its brightest level if it has 16 bits, otherwise -1."""
    from PIL import Image, ImageOps
    from PIL.Image import Resampling
    from torchvision.transforms.functional import pil_to_tensor

    brightest = -1
    with open_picture(file) as picture:
        ImageOps.exif_transpose(picture, in_place=True)
        if picture.mode == "F" or (picture.mode == "I" and picture.format == "TIFF"):
            raise GanzooError(
                f"The picture {file} has 32 bits per channel, and there is no agreed level for white.",
                "Convert it to 8 or 16 bits.",
            )
        if picture.mode.startswith("I"):  # 16 bits, which Pillow would cut off instead of scale
            levels = picture.convert("I")
            brightest = cast("tuple[int, int]", levels.getextrema())[1]
            opaque = levels.point(lambda level: level * (1 / 256) + 0).convert("L")
        elif picture.has_transparency_data:
            white = Image.new("RGBA", picture.size, "white")
            opaque = Image.alpha_composite(white, picture.convert("RGBA"))
        else:
            opaque = picture
        upright = opaque.convert("L" if channels == 1 else "RGB")
        if size is not None:
            upright = ImageOps.fit(upright, size, Resampling.BICUBIC)
        return pil_to_tensor(upright), brightest


def _of_another_size(file: Picture, pixels: Tensor, first: Picture, others: Tensor) -> GanzooError:
    (height, width), (other_height, other_width) = pixels.shape[1:], others.shape[2:]
    return GanzooError(
        f"The picture {file} is {width} pixels wide and {height} high, but {first} is {other_width} wide and "
        f"{other_height} high.",
        "Set dataset.size to scale and crop them all.",
    )
