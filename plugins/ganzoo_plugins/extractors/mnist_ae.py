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


def clean(images: Tensor) -> Tensor:
    """Images uint8 (n, 1, h, w) or float from 0 to 255, as float32 from 0 to 1."""
    return ((images.to(torch.float32) - BLACK) / (WHITE - BLACK)).clamp(0, 1)


class Encoder(nn.Module):
    """From cleaned images (n, 1, 28, 28) to the outputs of each layer."""

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
    """Features (n, 144) of images (n, 1, 28, 28), uint8 or float from 0 to 255: the encoder's, and grey levels."""
    cleaned = clean(images)
    first, second, last = encoder(cleaned)
    pooled = [moment.mean((2, 3)) for depth in (first, second) for moment in (depth, depth.square())]
    # A pixel between two grey levels counts towards both; black is left out, since the shares add up to one.
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
    register("mnist-ae", MnistAe, summary="144 features of an autoencoder of MNIST, without labels, at native 28x28")
    register(
        "fashion-mnist-ae",
        FashionMnistAe,
        summary="144 features of an autoencoder of Fashion-MNIST, without labels, at native 28x28",
    )
