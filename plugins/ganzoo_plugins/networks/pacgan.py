"""PacGAN: a discriminator that judges several samples together notices when they are too similar.

Lin, Khetan, Fanti & Oh 2018, "PacGAN: The power of two samples in generative adversarial networks", arXiv:1712.04086. D
gets m samples of one kind as a single input with m times as many channels, and returns one logit for all of them:

    D(x_1, ..., x_m),    all of them real, or all of them fakes

If the generator misses modes, the samples in its packs are more alike than those in packs of real samples. Only D's
first layer changes, to m times as many inputs. The paper calls DCGAN with m = 2 PacDCGAN2. Labels are not packed, so
these discriminators are for unconditional recipes, as in the paper.

Every sample gets the logit of its pack, so losses, which are means, keep their value. Penalties on D's gradient do not:
an image's gradient is that of m logits, so R1 is m times what it would be for complete packs, and the norm in WGAN-GP
√m times. No recipe combines packs with such a penalty.

Differences from the paper:

- A batch of n samples makes n/m packs. The authors' batch size counts packs, so their D sees m times as many samples
  per step; for m = 2, double the batch size to match them.
- The samples of a pack are n/m places apart in the batch; if n is not a multiple of m, the first fill up the last
  packs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from ganzoo import Register, Spec, beside, hookimpl
from ganzoo.layers import Norm, Slope, Width
from ganzoo_plugins.networks import dcgan, mlp

PAPER = "Lin et al. 2018, PacGAN: The power of two samples in GANs, arXiv:1712.04086"

Packing = Annotated[int, Field(ge=1, le=64)]
"""Samples in a pack, the paper's m."""


class Packed(nn.Module):
    """A discriminator of packs: from samples (n, c, h, w) to logits (n,), via features of each sample's pack.

    Args:
        discriminator: Takes packs (ceil(n / m), m c, h, w).
        packing: m, the number of samples judged together.
    """

    def __init__(self, discriminator: mlp.Discriminator | dcgan.Discriminator, packing: int) -> None:
        super().__init__()
        self.discriminator, self.packing = discriminator, packing
        self.feature_width = discriminator.feature_width

    @property
    def head(self) -> nn.Module:
        """From features (n, feature_width) to logits (n,)."""
        return cast("nn.Module", self.discriminator.head)

    def features(self, images: Tensor) -> Tensor:
        """Features (n, feature_width) of the packs that contain the images (n, c, h, w)."""
        n, packs = len(images), -(-len(images) // self.packing)
        if packs * self.packing > n:
            images = images[torch.arange(packs * self.packing, device=images.device) % n]
        packed = images.view(self.packing, packs, *images.shape[1:]).transpose(0, 1).flatten(1, 2)
        return self.discriminator.features(packed).repeat(self.packing, 1)[:n]

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n,) of images (n, c, h, w): each image gets its pack's."""
        logits: Tensor = self.head(self.features(images))
        return logits


def packed_spec(spec: Spec, packing: int) -> Spec:
    """The spec of a discriminator of packs: m times as many channels."""
    return Spec((spec.channels * packing, spec.height, spec.width), spec.prior)


def perceptron(
    spec: Spec,
    *,
    packing: Packing = 2,
    hidden: Sequence[Width] = (512, 256),
    norm: Norm = "none",
    slope: Slope = 0.2,
) -> Packed:
    """A multilayer perceptron on packs.

    Args:
        spec: Image, latent and class sizes.
        packing: Samples in a pack, the paper's m.
        hidden: Widths of the hidden layers.
        norm: Normalisation of every hidden layer but the first.
        slope: Negative slope of the LeakyReLUs.
    """
    return Packed(mlp.Discriminator(packed_spec(spec, packing), hidden=hidden, norm=norm, slope=slope), packing)


def convolutional(
    spec: Spec, *, packing: Packing = 2, width: Width = 64, norm: Norm = "batch", slope: Slope = 0.2
) -> Packed:
    """DCGAN's discriminator on packs.

    Args:
        spec: Image, latent and class sizes.
        packing: Samples in a pack, the paper's m.
        width: Channels of the first layer; each later layer has twice as many as the one before.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
        slope: Negative slope of the LeakyReLUs.
    """
    return Packed(dcgan.Discriminator(packed_spec(spec, packing), width=width, norm=norm, slope=slope), packing)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("pac-mlp", perceptron, summary="A perceptron that judges packs of samples", paper=PAPER)
    register("pac-dcgan", convolutional, summary="DCGAN's discriminator, judging packs of samples", paper=PAPER)


register_recipes = beside(__file__, "pacgan-ring", "pacgan-stacked-mnist")
