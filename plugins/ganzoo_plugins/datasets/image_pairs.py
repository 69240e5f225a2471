"""The user's own pictures for translation: a folder for sources and one for targets, or both halves of each picture.

    photos/input/cat.png         photos/cat.png, with the source on the left    photos/trainA/a.jpg
    photos/output/cat.png        and the target on the right                    photos/trainB/b.jpg, testA, testB

Of two folders, the one whose name comes first in the alphabet holds the sources: ``A`` and ``B``, ``input`` and
``output``, ``source`` and ``target``. ``reverse`` swaps them. In pairs, a source and its target have the same name,
apart from the ending.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, GanzooError, Register, Split, beside, hookimpl
from ganzoo_plugins.datasets.image_folder import (
    READ,
    SPLITS,
    Picture,
    common_size,
    decode_all,
    files_below,
    is_hidden,
    share_of,
)

LAYOUT = (
    "Give two subfolders, the first with sources and the second with targets, or pictures that hold a source in their "
    "left and its target in their right half."
)
Side = Annotated[int, Field(ge=8, le=4096)]


def image_pairs(
    split: Split,
    folder: Path | None,
    *,
    path: str = "",
    paired: bool = True,
    reverse: bool = False,
    size: Side | Literal["auto"] = "auto",
    largest: Side = 64,
    channels: Literal[1, 3, "auto"] = "auto",
) -> Dataset:
    """The user's own pictures: targets, and as the column ``source`` what to translate.

    Args:
        split: ``"train"`` or ``"test"``: the subfolders of these names, each with one of the layouts, or ``trainA``,
            ``trainB``, ``testA`` and ``testB``; otherwise nine tenths and one tenth of all.
        folder: The user's ``--data-dir``, which ``path`` is relative to, or None.
        path: The folder of pictures. A recipe for any pictures names none, and is given it by --data.
        paired: Whether each source has a target, of the same name; otherwise the smaller set is repeated.
        reverse: Translate in the other direction.
        size: Height and width that all are scaled and cropped to. ``auto`` keeps pictures that have one size, and makes
            others as large as all but a few allow.
        largest: With ``size: auto``, the largest side.
        channels: 1 for grey, 3 for colour; ``auto`` is 1 if no picture has a colour mode.

    Raises:
        GanzooError: There are no pictures in one of these layouts, or a source lacks its target, or pictures cannot be
            read.
    """
    if not path:
        raise GanzooError("This recipe translates your own pictures.", f"Give their folder: --data FOLDER. {LAYOUT}")
    root = Path(path).expanduser() if folder is None else folder / path
    if not root.is_dir():
        raise GanzooError(f"{root} is not a folder.", LAYOUT)
    places, divided = _places(root, split)
    others = Counter[str]()
    sides: list[list[Picture]] = [files_below(place, others, into_subfolders=len(places) == 2) for place in places]
    for place, files in zip(places, sides, strict=True):
        if not files:
            raise GanzooError(f"{place} has no pictures.", READ)
    if paired and len(places) == 2:
        sides = _matched(places, sides)
    halves = len(places) == 1
    everything = [file for files in sides for file in files]
    common, grey = common_size(root, everything, largest * (1 + halves), warn=False)
    depth: Literal[1, 3] = (1 if grey else 3) if channels == "auto" else channels
    shape = (size * (1 + halves), size) if isinstance(size, int) else common
    stacks = []
    for files in sides:
        chosen = range(len(files)) if divided else share_of([0] * len(files), split)
        if not chosen:
            raise GanzooError(f"{root} has no pictures for '{split}'.", "A training and a test split need two each.")
        stacks.append(decode_all(root, [files[index] for index in chosen], shape, depth, split, 0)[0])
    source, images = _cut(root, stacks[0]) if halves else _repeated(stacks[0], stacks[1])
    if reverse:
        source, images = images, source
    unpaired = {} if paired else {"unpaired": torch.ones(len(images), dtype=torch.bool)}
    return Dataset("image-pairs", split, images.contiguous(), columns={"source": source.contiguous(), **unpaired})


def _places(root: Path, split: Split) -> tuple[list[Path], bool]:
    """The folder of halves, or those of sources and of targets; and whether they hold only this split."""
    inside = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not is_hidden(entry.name))
    if {f"{one}{side}" for one in SPLITS for side in "AB"} <= {*inside}:
        return [root / f"{split}A", root / f"{split}B"], True
    if {*SPLITS} <= {*inside}:
        return _places(root / split, split)[0], True
    if len(inside) not in (0, 2):
        raise GanzooError(f"{root} has {len(inside)} subfolders: {', '.join(inside[:5])}.", LAYOUT)
    return [root / name for name in inside] or [root], False


def _matched(places: list[Path], sides: list[list[Picture]]) -> list[list[Picture]]:
    """The files of both folders in the same order."""
    named = [
        {Path(str(file)).relative_to(place).with_suffix("").as_posix(): file for file in files}
        for place, files in zip(places, sides, strict=True)
    ]
    for number, place in enumerate(places):
        if alone := sorted(named[number].keys() - named[1 - number].keys()):
            raise GanzooError(
                f"{place / alone[0]} has no partner of the same name in {places[1 - number]}; nor have "
                f"{len(alone) - 1:,} others.",
                "Add or remove pictures; if they are no pairs, use the recipe 'cyclegan'.",
            )
    return [[files[name] for name in sorted(named[0])] for files in named]


def _cut(root: Path, pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Left and right halves."""
    height, width = pictures.shape[2:]
    if width % 2 or width == height:
        raise GanzooError(
            f"The pictures in {root} are {width} pixels wide and {height} high, which is no pair side by side.", LAYOUT
        )
    return pictures[..., : width // 2], pictures[..., width // 2 :]


def _repeated(source: Tensor, images: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the number of the larger set."""
    rows = torch.arange(max(len(source), len(images)))
    return source[rows % len(source)], images[rows % len(images)]


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("image-pairs", image_pairs, summary="your own pictures for translation: pairs, or two sets")


register_recipes = beside(__file__, "pix2pix", "cyclegan")
