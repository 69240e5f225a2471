"""Features of an autoencoder for any pictures, offline and without labels: ``mnist_ae``'s, for 32x32 RGB.

It compares samples with pictures that it never saw, so it is fitted to several worlds at once: cartoon faces, digits
and clothes, also in random colours, and drawn scenes of overlapping shapes, whose sizes and edges resemble those in
photographs ("dead leaves"; Lee, Mumford and Huang 2001). The dataset ``characters`` and photographs take no part, so
that they can show whether the ruler holds for other pictures. The projection's moments are averages over the worlds,
each around its own mean, since what matters is how the pictures of one folder differ.

Pictures are brought to 32x32 as follows. Grey is repeated to RGB. A height or width from 24 to 32 is padded on both
sides with the picture's border; any other is resized to 32, linearly and antialiased. Details finer than that are not
seen.

It compares at least 100 real images: with fewer, faults that anyone can see are lost in the noise of real vs real.

The weights are fitted by ``python -m ganzoo_plugins.extractors.pictures_ae_training --out FOLDER``.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from ganzoo import Extractor, Register, hookimpl
from ganzoo_plugins.extractors.mnist_ae import Autoencoder, Encoder

SIDE, PADDED_FROM = 32, 24
"""The height and width that pictures are brought to, and the smallest that are padded instead of resized."""


def native(images: Tensor) -> Tensor:
    """Images (n, 1 or 3, h, w), uint8 or float from 0 to 255, as float32 (n, 3, 32, 32) from 0 to 255."""
    height, width = (side if PADDED_FROM <= side <= SIDE else SIDE for side in images.shape[2:])
    sized = images.to(torch.float32)
    if (height, width) != images.shape[2:]:
        sized = F.interpolate(sized, (height, width), mode="bilinear", antialias=True)
    top, left = (SIDE - height) // 2, (SIDE - width) // 2
    padded = F.pad(sized, (left, SIDE - width - left, top, SIDE - height - top), mode="replicate")
    return padded.expand(-1, 3, -1, -1)


class PicturesEncoder(Encoder):
    """Of pictures in any size."""

    channels, side, last_width = 3, SIDE, 64

    def clean(self, images: Tensor) -> Tensor:
        """Images (n, 1 or 3, h, w), uint8 or float from 0 to 255, as float32 (n, 3, 32, 32) from 0 to 1."""
        return native(images) / 255


class PicturesAe(Autoencoder):
    """Fitted to several worlds, for any pictures."""

    name = "pictures-ae"
    encodes = PicturesEncoder
    width = PicturesEncoder.width()
    shape = (3, SIDE, SIDE)
    least = 100
    judges = "of shape (n, 1 or 3, h, w), at least 8 pixels high and wide"
    weights = "pictures-ae-67f942bd12be.safetensors"
    made_by = "ganzoo_plugins.extractors.pictures_ae_training"

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Grey and RGB pictures, but no points, whose height is 1."""
        return len(shape) == 3 and shape[0] in (1, 3) and min(shape[1:]) >= 8

    def resizing_of(self, shape: tuple[int, ...]) -> str:
        """How pictures become 32x32 RGB."""
        sides = "padded" if all(PADDED_FROM <= side <= SIDE for side in shape[1:]) else "bilinear, antialiased"
        how = "none" if shape[1:] == self.shape[1:] else f"{sides} to {SIDE}x{SIDE}"
        return f"grey tiled to RGB, {how}" if shape[0] == 1 else how


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    summary = "208 features of an autoencoder for any pictures, without labels, offline"
    register("pictures-ae", PicturesAe, summary=summary)
