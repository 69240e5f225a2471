"""The images that extractors are fitted on: all training images but those that `dataset.validation` sets apart."""

from __future__ import annotations

from dataclasses import replace

import torch

from ganzoo import ImageDataset

VALIDATION = 10_000


def split_off_validation(dataset: ImageDataset, count: int = VALIDATION) -> tuple[ImageDataset, ImageDataset]:
    """The images to fit on, and a seeded, stratified part of ``count`` images that stays unseen.

    Each class gives its share, rounded so that the sum is ``count`` (by the largest remainder, lower classes first):
    the first of its images in an order that one generator, seeded 0, draws class by class.

    Args:
        dataset: With labels.
        count: Fewer than there are images.

    Returns:
        Both in the order of the file.
    """
    assert dataset.labels is not None
    classes, sizes = torch.unique(dataset.labels, return_counts=True)
    shares = sizes.double() * count / len(dataset)
    parts = shares.floor().long()
    parts[(shares - parts).argsort(descending=True, stable=True)[: count - int(parts.sum())]] += 1
    generator = torch.Generator().manual_seed(0)
    held_out = torch.zeros(len(dataset), dtype=torch.bool)
    for label, part in zip(classes, parts.tolist(), strict=True):
        members = (dataset.labels == label).nonzero().flatten()
        held_out[members[torch.randperm(len(members), generator=generator)[:part]]] = True
    fitted, validation = (
        replace(dataset, images=dataset.images[of], labels=dataset.labels[of]) for of in (~held_out, held_out)
    )
    return fitted, validation
