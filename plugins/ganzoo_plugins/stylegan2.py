"""StyleGAN2's networks.

Karras, Laine, Aittala, Hellsten, Lehtinen & Aila 2020, "Analyzing and Improving the Image Quality of StyleGAN",
arXiv:1912.04958. G maps the code to w, w = f(z / √mean(z²)), and w modulates every convolution that leads from a learned
constant to the image (the modulated page has the equation). Each adds noise of its own to every pixel, of a strength
that is learned from zero, in evaluation too. Every resolution adds to the image (skip connections):

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

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ganzoo import Register, RegisterRecipe, Spec, hookimpl
from ganzoo_plugins.layers import Conditioning, Head, MinibatchStd, Width, label_inputs, with_label
from ganzoo_plugins.modulated import TINY, Activation, ModulatedConv2d, equalised
from ganzoo_plugins.resampling import Blur, double, edge_padding, pyramid

PAPER = "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958"


def unit(x: Tensor) -> Tensor:
    """Vectors (n, d) scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + TINY).rsqrt()


class Mapping(nn.Module):
    """From codes (n, latent) to w (n, style), by way of ``depth`` layers that learn at a hundredth of the rate."""

    def __init__(self, spec: Spec, style: int, depth: int) -> None:
        super().__init__()
        self.embedding = equalised(nn.Embedding(spec.classes, spec.latent)) if spec.classes else None
        widths = [spec.latent * (2 if spec.classes else 1), *[style] * depth]
        pairs = zip(widths[:-1], widths[1:], strict=True)
        self.layers = nn.Sequential(
            *[layer for pair in pairs for layer in (equalised(nn.Linear(*pair), rate=0.01), Activation())]
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """w (n, style) of codes (n, latent) and, in a conditional recipe, labels (n,)."""
        code = unit(z)
        if self.embedding is not None:
            assert label is not None, "a network built for classes needs labels"
            code = torch.cat([code, unit(self.embedding(label))], dim=1)
        return cast("Tensor", self.layers(code))


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, bias, activation; drawn noise is torch's own, so that a seed repeats it."""

    def __init__(self, inputs: int, outputs: int, style: int, *, up: bool = False) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, style, up=up)
        self.noise_strength = nn.Parameter(torch.zeros(()))
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.activation = Activation()

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """From (n, inputs, h, w) to (n, outputs, h, w), or twice that size."""
        maps = self.conv(maps, w)
        noise = torch.randn_like(maps[:, :1]) * self.noise_strength
        return cast("Tensor", self.activation(maps + noise + self.bias.to(maps.dtype)))


class Resolution(nn.Module):
    """One resolution of G: its convolutions, and what they add to the image. The first one doubles nothing."""

    def __init__(self, inputs: int, outputs: int, style: int, colours: int, *, first: bool) -> None:
        super().__init__()
        convs = [] if first else [StyledConv(inputs, outputs, style, up=True)]
        self.convs = nn.ModuleList([*convs, StyledConv(outputs, outputs, style)])
        self.to_image = ModulatedConv2d(outputs, colours, style, kernel=1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(colours, 1, 1))

    def forward(self, maps: Tensor, image: Tensor | None, w: Tensor) -> tuple[Tensor, Tensor]:
        """Maps and the image of this resolution, from those of the coarser one."""
        for conv in self.convs:
            maps = conv(maps, w)
        added = self.to_image(maps, w).float() + self.bias
        return maps, added if image is None else double(image) + added


class Synthesis(nn.Module):
    """From w (n, style) to images (n, c, h, w) in [-1, 1]."""

    def __init__(self, spec: Spec, width: int, widest: int, style: int) -> None:
        super().__init__()
        self.spec = spec
        channels, height, columns = pyramid(spec, width, widest)
        self.constant = nn.Parameter(torch.randn(channels[0], height, columns))
        pairs = zip(channels[:1] + channels[:-1], channels, strict=True)
        self.resolutions = nn.ModuleList(
            [Resolution(*pair, style, spec.channels, first=not level) for level, pair in enumerate(pairs)]
        )

    def forward(self, w: Tensor) -> Tensor:
        """Images of the codes w, with fresh noise."""
        maps, image = self.constant.expand(len(w), -1, -1, -1), None
        for resolution in self.resolutions:
            maps, image = resolution(maps, image, w)
        assert image is not None
        return torch.tanh(image[..., : self.spec.height, : self.spec.width])


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
