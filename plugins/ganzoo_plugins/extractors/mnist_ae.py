"""The second judge of small grey images: what an autoencoder needs to draw them again, learned without labels.

A classifier's features hardly vary within a class, so specks, thick strokes and a lack of variety within a class cost
next to nothing in them. An autoencoder has to keep whatever is drawn. Each depth of this one gives the image back
through a decoder of its own, so that the first layer keeps edges and grain, and the last one shapes. The features are

- the 32 outputs of the last layer,
- for each channel of the two layers before it, the mean over the image, and that of its square,
- how many of the pixels have each of sixteen greys, softly.

Fréchet distances see them through a projection. Coordinates of equal variance make small directions count, but would
see what no person does. A Fréchet distance looks at means and covariances, so what an invisible change does to it is,
to first order, due to two things: the mean m of the features' differences d, and the part of d that follows linearly
from the features f, of second moment P = C' S^-1 C with C = cov(f, d) and S = cov(f). Both count as variance: the
projection's columns v solve S v = a (S + N) v for the largest a, where N sums ``MEAN_WEIGHT`` m m' and
``LINEAR_WEIGHT`` P over shifts of a tenth of a pixel and noise of two levels, and are scaled to v' (S + N) v = 1. A
mean then costs no more than 1/``MEAN_WEIGHT``. Values up to 16 are black and those from 240 on white.

The weights are fitted to training images alone, without labels and without validation images, by
``python -m ganzoo_plugins.extractors.mnist_ae_training --dataset mnist --out FOLDER``. How they were chosen among
others: docs/metrics.md.
"""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ganzoo import Extractor, Register, hookimpl
from ganzoo_plugins.extractors.bundled import Bundled

BLACK, WHITE = 16, 240
"""Levels up to the one are black, from the other on white: nobody tells them apart."""
FIRST, SECOND, LAST = 16, 32, 32
"""Channels of the two convolutions, and outputs of the last layer."""
GREYS = 16
DIRECTIONS = 48
"""Columns of the projection: the bias of a Fréchet distance grows with their square."""


def clean(images: Tensor) -> Tensor:
    """Images uint8 (n, 1, h, w) or float from 0 to 255, as float32 from 0 to 1."""
    return ((images.to(torch.float32) - BLACK) / (WHITE - BLACK)).clamp(0, 1)


class Encoder(nn.Module):
    """From cleaned images (n, 1, 28, 28) to what each depth keeps."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, FIRST, 5, stride=2, padding=2)
        self.second = nn.Conv2d(FIRST, SECOND, 3, stride=2, padding=1)
        self.last = nn.Linear(SECOND * 7 * 7, LAST)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, FIRST, 14, 14) and (n, SECOND, 7, 7), both at least 0, and (n, LAST)."""
        first = F.relu(self.first(images))
        second = F.relu(self.second(first))
        return first, second, self.last(second.flatten(1))


class Autoencoder(Bundled):
    """The encoder of an autoencoder, at native 28x28.

    Args:
        weights: A file that the training script wrote; by default the one in the package.

    Raises:
        GanzooError: The file is missing or not this network's.
    """

    directions: Tensor
    weights: ClassVar[str]
    """The file, which is named after the first twelve digits of its digest."""
    made_by = "ganzoo_plugins.extractors.mnist_ae_training"
    width = LAST + 2 * FIRST + 2 * SECOND + GREYS

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        weights = weights or Path(__file__).with_name(self.weights)
        self.encoder = Encoder()
        self.register_buffer("directions", torch.zeros(self.width, DIRECTIONS))
        self.read_weights(weights)

    @property
    def projection(self) -> Tensor:
        """(width, DIRECTIONS)."""
        return self.directions

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features, and no logits.

        Args:
            images: uint8 (n, 1, 28, 28).

        Returns:
            Features (n, 144) float32.

        Raises:
            GanzooError: The images have another shape or type.
        """
        self.refuse_unfit(images)
        with torch.autocast(images.device.type, enabled=False):
            return features(self.encoder, images), None


def features(encoder: Encoder, images: Tensor) -> Tensor:
    """What an encoder says of images (n, 1, 28, 28), uint8 or float from 0 to 255, and their greys: (n, 144)."""
    cleaned = clean(images)
    first, second, last = encoder(cleaned)
    pooled = [moment.mean((2, 3)) for depth in (first, second) for moment in (depth, depth.square())]
    # A pixel between two greys counts for both; black ones are what remains.
    steps = cleaned.flatten(1) * GREYS
    greys = [(1 - (steps - grey).abs()).clamp(min=0).mean(1, keepdim=True) for grey in range(1, GREYS + 1)]
    return torch.cat([last, *pooled, *greys], 1)


class MnistAe(Autoencoder):
    """Fitted to MNIST's digits."""

    name = "mnist-ae"
    domains = ("mnist",)
    weights = "mnist-ae-8dda000b18f8.safetensors"


class FashionMnistAe(Autoencoder):
    """Fitted to Fashion-MNIST's clothes."""

    name = "fashion-mnist-ae"
    domains = ("fashion-mnist",)
    weights = "fashion-mnist-ae-b3a108cc2928.safetensors"


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    """Add one for each domain."""
    register("mnist-ae", MnistAe, summary="144 features of an autoencoder of MNIST, without labels, at native 28x28")
    register(
        "fashion-mnist-ae",
        FashionMnistAe,
        summary="144 features of an autoencoder of Fashion-MNIST, without labels, at native 28x28",
    )
