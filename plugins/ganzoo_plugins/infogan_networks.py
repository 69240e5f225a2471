"""InfoGAN's networks: two convolutions and a wide fully connected layer.

Chen et al. 2016, "InfoGAN", arXiv:1606.03657, appendix C.1, for MNIST: D is convolutions of 64 and 128 channels and a
layer of 1024 units, all but the first batch-normalised, with LeakyReLU(0.1); G is layers of 1024 and 7x7x128 units, a
transposed convolution of 64 channels, all batch-normalised with ReLU, and a transposed convolution to the image.
Kernels are 4x4, strides 2. Lucic et al. 2018, "Are GANs Created Equal?", arXiv:1711.10337, compare seven losses on
these networks.

Grids follow from the image as DCGAN's do (28x28 is 7 -> 14 -> 28; 32x32 is 4 -> 8 -> 16 -> 32), channels double as the
grid is halved, and all widths are multiples of one. G ends in tanh instead of a sigmoid, as images here are in [-1, 1].
The recognition head is the loss ``infogan``'s. Weights start as DCGAN's; the paper does not say.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ganzoo import Register, Spec, hookimpl
from ganzoo_plugins.dcgan import initialise, smallest_grid
from ganzoo_plugins.layers import (
    ConditionalBatchNorm,
    Conditioning,
    Doubling,
    GeneratorConditioning,
    Head,
    Labelled,
    Norm,
    Width,
    image_norm,
    label_inputs,
    vector_norm,
    with_label,
)

PAPER = "Chen et al. 2016, InfoGAN: Interpretable Representation Learning, arXiv:1606.03657"
HIDDEN = 16
"""Units of the fully connected layer, in widths: 1024 for a width of 64."""


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the last hidden layer, 64 in the paper.
        conditioning: How labels come in, in a conditional recipe.
    """

    def __init__(self, spec: Spec, *, width: Width = 64, conditioning: GeneratorConditioning = "concat") -> None:
        super().__init__()
        self.spec = spec
        by_norm = spec.classes if conditioning == "batch-norm" else 0
        self.label_inputs = spec.classes - by_norm

        def normalised(channels: int, plain: type[nn.Module] = nn.BatchNorm2d) -> list[nn.Module]:
            return [ConditionalBatchNorm(channels, by_norm) if by_norm else plain(channels), nn.ReLU()]

        doublings, height, columns = smallest_grid(spec)
        channels, hidden = width * 2 ** (doublings - 1), width * HIDDEN
        layers: list[nn.Module] = [
            nn.Linear(spec.latent + self.label_inputs, hidden, bias=False),
            *normalised(hidden, nn.BatchNorm1d),
            nn.Linear(hidden, channels * height * columns, bias=False),
            nn.Unflatten(1, (channels, height, columns)),
            *normalised(channels),
        ]
        for _ in range(doublings - 1):
            layers += [Doubling(channels, channels // 2, bias=False), *normalised(channels // 2)]
            channels //= 2
        self.layers = Labelled(*layers, Doubling(channels, spec.channels))
        self.apply(initialise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        images = self.layers(with_label(z, label, self.label_inputs), label)
        return torch.tanh(images[..., : self.spec.height, : self.spec.width])


class Discriminator(nn.Module):
    """From images (n, c, h, w) to logits (n,), by way of features that other heads may share.

    Args:
        spec: Image and class sizes.
        width: Channels of the first layer, 64 in the paper.
        norm: Normalisation of every layer but the first. With a gradient penalty, ``none`` or ``layer``.
        slope: Slope of the leaky rectifiers below zero.
        conditioning: How labels come in, in a conditional recipe.

    Attributes:
        feature_width: Number of features.
        head: From features (n, feature_width) to logits (n,).
        per_image: Whether it looks at each image alone.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 64,
        norm: Norm = "batch",
        slope: float = 0.1,
        conditioning: Conditioning = "concat",
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.per_image = norm != "batch"
        halvings, height, columns = smallest_grid(spec)
        self.padding = (0, -spec.width % 2**halvings, 0, -spec.height % 2**halvings)
        channels = spec.channels + self.label_inputs
        layers: list[nn.Module] = []
        for index in range(halvings):
            wider = width * 2**index
            normalised = image_norm(norm, wider) if index else []
            layers += [nn.Conv2d(channels, wider, 4, 2, 1, bias=not normalised), *normalised, nn.LeakyReLU(slope)]
            channels = wider
        self.feature_width = width * HIDDEN
        layers += [nn.Flatten(), nn.Linear(channels * height * columns, self.feature_width, bias=norm == "none")]
        self.layers = nn.Sequential(*layers, *vector_norm(norm, self.feature_width), nn.LeakyReLU(slope))
        self.head = Head(self.feature_width, spec.classes, conditioning)
        self.apply(initialise)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        features: Tensor = self.layers(with_label(pad(images, self.padding), label, self.label_inputs))
        return features

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n,) of images (n, c, h, w) and, in a conditional recipe, labels (n,)."""
        logits: Tensor = self.head(self.features(images, label), label)
        return logits


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    """InfoGAN's generator."""
    register("infogan", Generator, summary="Two wide layers and transposed convolutions, 4x4", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    """InfoGAN's discriminator."""
    register("infogan", Discriminator, summary="Strided convolutions, 4x4, and a wide layer", paper=PAPER)
