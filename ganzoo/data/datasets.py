"""Datasets: the parts of registered ones, and images that are given in Python.

Images for validation are taken from the training images: seeded, stratified, the same ones wherever they are asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from torch.utils.data import Dataset as TorchDataset

    from ganzoo.registry.registry import Entry

    Data = Dataset | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]


SEED = 0
VALIDATION = 10_000
"""How many images are set apart where nobody says how many: as many as MNIST's test images."""


def load_part(
    entry: Entry[Dataset],
    options: Mapping[str, Any],
    data_dir: Path | None,
    part: Part,
    validation: int = 0,
    count: int = 0,
) -> Dataset:
    """A part of a registered dataset.

    Args:
        entry: The dataset.
        options: Its options, checked.
        data_dir: Where the user keeps dataset files.
        part: Which one; ``train`` is without the images of ``validation``.
        validation: How many training images are set apart.
        count: How many of the others are trained on; 0 is all.

    Raises:
        GanzooError: It cannot be loaded, or no images are set apart for validation.
    """
    if part == "test":
        return entry.create("test", data_dir, **options)
    train = entry.create("train", data_dir, **options)
    return part_of(train, part, validation, count)


def part_of(train: Dataset, part: Part, validation: int, count: int = 0) -> Dataset:
    """The images to train on, or those set apart for validation, in the order of the training images.

    Raises:
        GanzooError: None are set apart for validation, none would be left to train on, or fewer than ``count``.
    """
    if part == "validation" and not validation:
        raise GanzooError(
            "No images were set apart for validation.",
            "Train with --set dataset.validation=10000, or score against --split test.",
        )
    if not validation:
        return _first(train, count)
    if validation >= len(train):
        raise GanzooError(
            f"dataset.validation is {validation:,}, and '{train.name}' has {len(train):,} training images.",
            "Set fewer apart: some have to be left to train on.",
        )
    held_out = _held_out(train.labels, len(train), validation)
    if part == "validation":
        return replace(train.rows(held_out.nonzero().flatten()), split="validation")
    return _first(train.rows((~held_out).nonzero().flatten()), count)


def _first(train: Dataset, count: int) -> Dataset:
    """The first images of a seeded order, in the order of the training images: a smaller count is part of a larger."""
    if not count:
        return train
    if count > len(train):
        raise GanzooError(
            f"dataset.count is {count:,}, and '{train.name}' has {len(train):,} images to train on.",
            "Set it lower, or leave it out to train on all.",
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED))
    return train.rows(order[:count].sort().values)


def _held_out(labels: Tensor | None, total: int, n: int) -> Tensor:
    """Which of the training images are for validation, (total,) bool.

    Each class gives its share, by the largest remainder (the lower class first where two are equal), so that they add
    up to ``n``: the first images of a permutation, drawn class by class from one generator. Without labels, all images
    are one class.
    """
    labels = torch.zeros(total, dtype=torch.int64) if labels is None else labels
    classes, sizes = torch.unique(labels, return_counts=True)
    parts = sizes * n // total
    rest = (sizes * n % total).argsort(descending=True, stable=True)
    parts[rest[: n - int(parts.sum())]] += 1
    generator = torch.Generator().manual_seed(SEED)
    chosen = torch.zeros(total, dtype=torch.bool)
    for label, part in zip(classes, parts.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:part]]] = True
    return chosen


IN_MEMORY = "in-memory"
"""The registered name of datasets that were given in Python."""


def as_dataset(data: Any) -> Dataset:
    """A dataset in memory.

    Args:
        data: A dataset of ours; a tensor of images (n, c, h, w), or a pair of it and labels (n,); or a dataset of
            torch's that has a length, which is read once, whole: its items are images, or begin with an image and its
            class. An image is uint8 (c, h, w), (h, w) or of PIL, or float in [0, 1] as
            ``torchvision.transforms.ToTensor`` makes it from one.

    Raises:
        GanzooError: It is something else, or its images differ in size.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Tensor):
        return Dataset(IN_MEMORY, "train", _levels(data))
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        images, labels = data
        numbers = range(int(labels.max()) + 1 if len(labels) else 0)
        return Dataset(IN_MEMORY, "train", _levels(images), labels.long(), tuple(map(str, numbers)))
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or len(data) == 0:
        raise GanzooError(
            f"Not a dataset: {type(data).__name__}.",
            "Give a registered name, a ganzoo.Dataset, a tensor of images, or a torch Dataset that has a length.",
        )
    found, classes = [], []
    for index in range(len(data)):
        item = data[index]
        image, *rest = item if isinstance(item, tuple | list) else (item,)
        found.append(_image(image))
        if rest and (isinstance(rest[0], int) or getattr(rest[0], "shape", None) == ()):
            classes.append(int(rest[0]))
    if len({image.shape for image in found}) > 1:
        raise GanzooError("The images of the dataset differ in size.", "Give images of one size.")
    labelled = len(classes) == len(found) and min(classes) >= 0
    names = getattr(data, "classes", None) or range(max(classes) + 1 if labelled else 0)
    kind = type(data).__name__
    return Dataset(
        kind.lower(),
        "train" if getattr(data, "train", False) else "test",
        torch.stack(found),
        torch.tensor(classes) if labelled else None,
        tuple(map(str, names)) if labelled else (),
        # torchvision's classes are called as our datasets are, but for the hyphens: FashionMNIST.
        world=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower(),
    )


def _image(given: Any) -> Tensor:
    """uint8 (c, h, w)."""
    import numpy as np

    image = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if not isinstance(given, Tensor) and image.dim() == 3:
        image = image.permute(2, 0, 1)
    image = _levels(image[None] if image.dim() == 2 else image)
    if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] not in (1, 3):
        raise GanzooError(
            f"The dataset gives images of type {str(image.dtype).removeprefix('torch.')} and shape "
            f"{tuple(image.shape)}.",
            "An image is uint8 (c, h, w) or (h, w), c being 1 or 3.",
        )
    return image


def _levels(images: Tensor) -> Tensor:
    """Floats in [0, 1] as the uint8 they were made from; anything else as it is."""
    if not images.is_floating_point():
        return images
    levels = (images * 255).round()
    if not bool(((levels - images * 255).abs() < 1e-3).all()) or levels.min() < 0 or levels.max() > 255:
        raise GanzooError(
            "The dataset's images are floats that are not 256 levels between 0 and 1.",
            "Leave out what normalises them: scores depend on the pixels as they are.",
        )
    return levels.to(torch.uint8)
