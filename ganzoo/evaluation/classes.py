"""What a classifier says about a set of images: which classes there are, how evenly, and whether as asked."""

from __future__ import annotations

import torch
from torch import Tensor

COVERED_FROM = 0.1
"""A class is covered from this part of its share among real images on; below, it may be misread noise."""


def shares(logits: Tensor) -> Tensor:
    """The share of images in each class, by the largest logit.

    Args:
        logits: (n, classes).

    Returns:
        (classes,) float64, of sum 1.
    """
    return logits.argmax(1).bincount(minlength=logits.shape[1]).double() / len(logits)


def class_coverage(fake: Tensor, real: Tensor) -> float:
    """The part of the classes that real images show which fake images show as well.

    Args:
        fake: Logits (n, classes).
        real: Logits (m, classes).

    Returns:
        0 to 1.
    """
    wanted, found = shares(real), shares(fake)
    there = wanted > 0
    return float((found[there] >= COVERED_FROM * wanted[there]).double().mean())


def class_entropy(logits: Tensor) -> float:
    """Entropy of the classes that images fall into, in nats: 0 for one class, log(classes) for an even spread."""
    return float(torch.special.entr(shares(logits)).sum())


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images that the classifier puts into the class they were asked to be of.

    Args:
        logits: (n, classes).
        labels: int64 (n,).
    """
    return float((logits.argmax(1) == labels).double().mean())
