"""Blobs, and as the source of each the same image inverted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from ganzoo import Dataset, Extractor, Metric, MetricInputs, Register, Split, hookimpl

SIZE = 16


def inverted(split: Split, folder: Path | None, *, rows: int = 256) -> Dataset:
    """Bright discs at random places on black.

    Args:
        split: Which images; those of the two splits differ.
        folder: Not used: the images are drawn.
        rows: Number of images.
    """
    generator = torch.Generator().manual_seed(len(split))
    centres = torch.rand(rows, 2, 1, 1, generator=generator) * SIZE
    axis = torch.arange(SIZE).float()
    distance = (axis.view(1, -1, 1) - centres[:, 0]).square() + (axis.view(1, 1, -1) - centres[:, 1]).square()
    images = (255 * (-distance / 16).exp()).round().to(torch.uint8)[:, None]
    return Dataset("inverted", split, images, columns={"source": 1 - images.float() / 127.5})


class Thumbnail(Extractor):
    """The image in four by four pixels."""

    shape = (1, SIZE, SIZE)
    width = 16

    @property
    def digest(self) -> str:
        """Of the name, as there are no weights."""
        return hashlib.sha256(b"thumbnail 4x4").hexdigest()

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features (n, 16) of uint8 images (n, 1, 16, 16)."""
        return torch.nn.functional.avg_pool2d(images.float(), 4).flatten(1), None


class Brightness(Metric):
    """How far the mean brightness of samples is from that of real images, in grey levels."""

    better = "lower"
    range = "0 to 255"

    def compute(self, inputs: MetricInputs) -> float:
        """The distance of the means over all features."""
        return float((inputs.fake.values.mean() - inputs.real.features.values.mean()).abs())


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    """The dataset."""
    register("inverted", inverted, summary="Discs, and their inverse as source")


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    """The extractor."""
    register("thumbnail", Thumbnail, summary="The image in four by four pixels")


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    """The metric."""
    register("brightness", Brightness, summary="Distance of the mean brightness from that of real images")
