"""Training images that are set apart for validation: seeded, stratified, the same ones wherever they are asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.registry.registry import Entry

SEED = 0
VALIDATION = 10_000
"""How many images are set apart where nobody says how many: as many as MNIST's test images."""


def load_part(
    entry: Entry[Dataset], options: Mapping[str, Any], data_dir: Path | None, part: Part, validation: int = 0
) -> Dataset:
    """A part of a registered dataset.

    Args:
        entry: The dataset.
        options: Its options, checked.
        data_dir: Where the user keeps dataset files.
        part: Which one; ``train`` is without the images of ``validation``.
        validation: How many training images are set apart.

    Raises:
        GanzooError: It cannot be loaded, or no images are set apart for validation.
    """
    if part == "test":
        return entry.create("test", data_dir, **options)
    train = entry.create("train", data_dir, **options)
    return part_of(train, part, validation)


def part_of(train: Dataset, part: Part, validation: int) -> Dataset:
    """The images to train on, or those set apart for validation, in the order of the training images.

    Raises:
        GanzooError: None are set apart for validation, or none would be left to train on.
    """
    if part == "validation" and not validation:
        raise GanzooError(
            "No images were set apart for validation.",
            "Train with --set dataset.validation=10000, or score against --split test.",
        )
    if not validation:
        return train
    if validation >= len(train):
        raise GanzooError(
            f"dataset.validation is {validation:,}, and '{train.name}' has {len(train):,} training images.",
            "Set fewer apart: some have to be left to train on.",
        )
    held_out = _held_out(train.labels, len(train), validation)
    if part == "validation":
        return replace(train.rows(held_out.nonzero().flatten()), split="validation")
    return train.rows((~held_out).nonzero().flatten())


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
