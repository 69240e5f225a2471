"""Pairs of digits for translation: the images are MNIST's, and each has a source that is computed from it.

``edges-to-digits``: where a digit ends. A pixel is white if it is darker than ``INK`` and one of its four neighbours is
not, so lines run around the ink, one pixel wide. A drawn outline looks like that too.

``half-to-whole``: the left half of a digit; the right half is mid-grey, a level that digits hardly contain.

``small-to-large``: a digit in 7x7 pixels, each the mean of four by four, rounded to 256 levels.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, max_pool2d, pad

from ganzoo import Dataset, Register, Split, hookimpl
from ganzoo_plugins.datasets.datasets import mnist

INK, GREY = 128, 128
SMALL = 4  # how many pixels become one, in each direction


def edges(images: Tensor) -> Tensor:
    """Outlines, uint8 (n, 1, h, w) of 0 and 255, of images of the same shape."""
    ink = images >= INK
    across = max_pool2d(ink.float(), (1, 3), stride=1, padding=(0, 1))
    down = max_pool2d(ink.float(), (3, 1), stride=1, padding=(1, 0))
    beside_ink = torch.maximum(across, down) > 0
    return (beside_ink & ~ink).to(torch.uint8) * 255


def left_half(images: Tensor) -> Tensor:
    """Images (n, 1, h, w) with a grey right half."""
    half = images.shape[3] // 2
    return pad(images[..., :half], (0, images.shape[3] - half), value=GREY)


def small(images: Tensor) -> Tensor:
    """uint8 (n, 1, h / 4, w / 4)."""
    return avg_pool2d(images.float(), SMALL).round().to(torch.uint8)


def _pairs(name: str, split: Split, folder: Path | None, source: Callable[[Tensor], Tensor]) -> Dataset:
    digits = mnist(split, folder)
    columns = {"source": source(digits.images)}
    return Dataset(name, split, digits.images, digits.labels, digits.classes, columns, domain="mnist")


def edges_to_digits(split: Split, folder: Path | None) -> Dataset:
    """MNIST, and the outline of each digit."""
    return _pairs("edges-to-digits", split, folder, edges)


def half_to_whole(split: Split, folder: Path | None) -> Dataset:
    """MNIST, and the left half of each digit."""
    return _pairs("half-to-whole", split, folder, left_half)


def small_to_large(split: Split, folder: Path | None) -> Dataset:
    """MNIST, and each digit in 7x7 pixels."""
    return _pairs("small-to-large", split, folder, small)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register("edges-to-digits", edges_to_digits, summary="MNIST, and the outline of each digit as its source")
    register("half-to-whole", half_to_whole, summary="MNIST, and the left half of each digit as its source")
    register("small-to-large", small_to_large, summary="MNIST, and each digit in 7x7 pixels as its source")
