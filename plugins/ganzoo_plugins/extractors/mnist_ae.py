"""Features of an autoencoder of small grey images: what it needs to reconstruct them, learned without labels.

A classifier's features hardly vary within a class, so specks, thick strokes and a lack of variety within a class barely
change them. An autoencoder has to keep everything that an image shows. Each layer of this one reconstructs the image
through its own decoder, so that the first layer keeps edges and grain, and the last one shapes. The features are

- the 32 outputs of the last layer,
- for each channel of the two layers before it, the means of its values and of their squares over the image,
- a soft histogram: the share of pixels at each of sixteen grey levels.

Fréchet distances are computed on a projection of them. Scaling every direction to equal variance would let small ones
count, but would also register changes that no person sees. A Fréchet distance depends on means and covariances, so to
first order an invisible change affects it in two ways: through the mean m of the features' differences d, and through
the part of d that depends linearly on the features f, with second moment P = C' S^-1 C, where C = cov(f, d) and
S = cov(f). Both are counted as variance: the projection's columns v solve S v = a (S + N) v for the largest a, where N
sums ``MEAN_WEIGHT`` m m' and ``LINEAR_WEIGHT`` P over shifts of a tenth of a pixel and noise of two grey levels, and
are scaled to v' (S + N) v = 1. The mean of such a change then costs no more than 1/``MEAN_WEIGHT``. Grey levels up to
16 are treated as black, and those from 240 as white.

The weights are fitted only to training images, without labels and without validation images, by
``python -m ganzoo_plugins.extractors.mnist_ae_training --dataset mnist --out FOLDER``. docs/metrics.md explains how
these features were chosen.
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
"""Levels up to the first are treated as black, and from the second as white: people cannot tell them apart."""
FIRST, SECOND, LAST = 16, 32, 32
"""Channels of the two convolutions, and outputs of the last layer."""
GREYS = 16
DIRECTIONS = 48
"""Columns of the projection: the bias of a Fréchet distance grows with the square of their number."""


class Encoder(nn.Module):
    """From cleaned images (n, channels, side, side) to the outputs of each layer.

    Attributes:
        channels: Channels of an image.
        side: Its height and width, a multiple of four.
        last_width: Outputs of the last layer.
        directions: Columns of the projection.
    """

    channels, side, last_width, directions = 1, 28, LAST, DIRECTIONS

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(self.channels, FIRST, 5, stride=2, padding=2)
        self.second = nn.Conv2d(FIRST, SECOND, 3, stride=2, padding=1)
        self.last = nn.Linear(SECOND * (self.side // 4) ** 2, self.last_width)

    @classmethod
    def width(cls) -> int:
        """The number of features."""
        return cls.last_width + 2 * FIRST + 2 * SECOND + GREYS * cls.channels

    def clean(self, images: Tensor) -> Tensor:
        """Images uint8 (n, 1, h, w) or float from 0 to 255, as float32 from 0 to 1."""
        return ((images.to(torch.float32) - BLACK) / (WHITE - BLACK)).clamp(0, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(n, FIRST, side / 2, side / 2) and (n, SECOND, side / 4, side / 4), both at least 0, and (n, last_width)."""
        first = F.relu(self.first(images))
        second = F.relu(self.second(first))
        return first, second, self.last(second.flatten(1))


class Autoencoder(Bundled):
    """The encoder of an autoencoder.

    Args:
        weights: A file that the training script wrote; by default the one in the package.

    Raises:
        GanzooError: The file is missing or not this network's.
    """

    directions: Tensor
    encodes: ClassVar[type[Encoder]] = Encoder
    weights: ClassVar[str]
    """The file, which is named after the first twelve digits of its digest."""
    made_by = "ganzoo_plugins.extractors.mnist_ae_training"
    width = Encoder.width()

    def __init__(self, weights: Path | None = None) -> None:
        super().__init__()
        weights = weights or Path(__file__).with_name(self.weights)
        self.encoder = self.encodes()
        self.register_buffer("directions", torch.zeros(self.width, self.encodes.directions))
        self.read_weights(weights)

    @property
    def projection(self) -> Tensor:
        """(width, k)."""
        return self.directions

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Features, and no logits.

        Args:
            images: uint8 (n, *shape).

        Returns:
            Features (n, width) float32.

        Raises:
            GanzooError: The images have another shape or type.
        """
        self.refuse_unfit(images)
        with torch.autocast(images.device.type, enabled=False):
            return features(self.encoder, images), None


def features(encoder: Encoder, images: Tensor) -> Tensor:
    """Features (n, width) of images, uint8 or float from 0 to 255: the encoder's, and levels of each channel."""
    cleaned = encoder.clean(images)
    first, second, last = encoder(cleaned)
    pooled = [moment.mean((2, 3)) for depth in (first, second) for moment in (depth, depth.square())]
    # A pixel between two levels counts towards both; black is left out, since the shares add up to one.
    steps = cleaned.flatten(2) * GREYS
    levels = [(1 - (steps - level).abs()).clamp(min=0).mean(2) for level in range(1, GREYS + 1)]
    return torch.cat([last, *pooled, *levels], 1)


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
    register("mnist-ae", MnistAe, summary="144 features of an autoencoder of MNIST, without labels, at native 28x28")
    register(
        "fashion-mnist-ae",
        FashionMnistAe,
        summary="144 features of an autoencoder of Fashion-MNIST, without labels, at native 28x28",
    )
