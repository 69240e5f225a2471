"""StyleGAN2's networks.

Karras, Laine, Aittala, Hellsten, Lehtinen & Aila 2020, "Analyzing and Improving the Image Quality of StyleGAN",
arXiv:1912.04958. G (page synthesis) maps the code to w = f(z / √mean(z²)), and w modulates every convolution that leads
from a learned constant to the image (page modulated). Each adds noise of its own to every pixel, of a strength that is
learned from zero, in evaluation too. Every resolution adds to the image (skip connections):

    image_0 = rgb_0(x_0),        image_i = double(image_{i-1}) + rgb_i(x_i)

D halves the image in residual blocks, (main(x) + skip(x)) / √2, and sees how much a batch differs before its last
convolution. All layers have equalised learning rates, the mapping network's a hundredth of the others'. The loss is
the non-saturating one with a lazy R1 (page r1), and path length regularization (page path_length).

Not here: style mixing, truncation, and a w for each layer. What is otherwise: G ends in a tanh, because ganzoo's
images lie in [-1, 1]; the image is doubled bilinearly up to its very edge; the coarsest grid is the image's (7x7 for
28x28). A label is embedded and goes into f behind z, as in Karras et al. 2020 (StyleGAN2-ADA, arXiv:2006.06676); D
projects on it (Miyato & Koyama 2018), without that paper's mapping network for labels.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import cast

from torch import Tensor, nn
from torch.nn.functional import pad

from ganzoo import Register, RegisterRecipe, Spec, hookimpl
from ganzoo_plugins.layers import Conditioning, Head, MinibatchStd, Width, label_inputs, with_label
from ganzoo_plugins.modulated import Activation, equalised
from ganzoo_plugins.resampling import Blur, edge_padding, pyramid
from ganzoo_plugins.synthesis import Mapping, Synthesis

PAPER = "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958"


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Where the doubling stops.
        style: Width of w, and of the mapping network (512 in the paper).
        mapping_layers: Layers of the mapping network.

    Attributes:
        mapping: From codes and labels to w (n, style).
        synthesis: From w to images.
    """

    def __init__(
        self, spec: Spec, *, width: Width = 32, widest: Width = 512, style: Width = 128, mapping_layers: Width = 8
    ) -> None:
        super().__init__()
        self.mapping = Mapping(spec, style, mapping_layers)
        self.synthesis = Synthesis(spec, width, widest, style)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        return cast("Tensor", self.synthesis(self.mapping(z, label)))


class Halving(nn.Module):
    """A residual block of D, from (n, inputs, h, w) to (n, outputs, h / 2, w / 2)."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            equalised(nn.Conv2d(inputs, inputs, 3, padding=1)),
            Activation(),
            Blur(padding=2),
            equalised(nn.Conv2d(inputs, outputs, 3, stride=2)),
            Activation(),
        )
        self.skip = nn.Sequential(Blur(padding=1, step=2), equalised(nn.Conv2d(inputs, outputs, 1, bias=False)))

    def forward(self, maps: Tensor) -> Tensor:
        """(main(x) + skip(x)) / √2."""
        return cast("Tensor", (self.main(maps) + self.skip(maps)) / math.sqrt(2))


class Discriminator(nn.Module):
    """From images (n, c, h, w) to logits (n,), by way of features that other heads may share.

    Args:
        spec: Image and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Where the doubling stops.
        conditioning: How labels come in, in a conditional recipe.

    Attributes:
        feature_width: Number of features.
        head: From features (n, feature_width) to logits (n,).
    """

    def __init__(
        self, spec: Spec, *, width: Width = 32, widest: Width = 512, conditioning: Conditioning = "projection"
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        self.padding = edge_padding(spec)
        channels, height, columns = pyramid(spec, width, widest)
        wide = channels[0]
        self.layers = nn.Sequential(
            equalised(nn.Conv2d(spec.channels + self.label_inputs, channels[-1], 1)),
            Activation(),
            *[Halving(*pair) for pair in zip(channels[:0:-1], channels[-2::-1], strict=True)],
            MinibatchStd(),
            equalised(nn.Conv2d(wide + 1, wide, 3, padding=1)),
            Activation(),
            nn.Flatten(),
            equalised(nn.Linear(wide * height * columns, wide)),
            Activation(),
        )
        self.feature_width = wide
        self.head = Head(wide, spec.classes, conditioning)
        equalised(self.head.linear)
        if self.head.embedding is not None:
            equalised(self.head.embedding)

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
    """The StyleGAN2 generator."""
    register("stylegan2", Generator, summary="Modulated convolutions from a learned constant, noise", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    """The StyleGAN2 discriminator."""
    register("stylegan2", Discriminator, summary="Residual blocks with equalised learning rates", paper=PAPER)


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """At a width for a CPU, and nearer the paper's."""
    register(Path(__file__).parent / "recipes" / "stylegan2-mnist.yaml")
    register(Path(__file__).parent / "recipes" / "stylegan2-mnist-gpu.yaml")
