"""StyleGAN2's generator in its two halves: the mapping network, and the synthesis of an image from its w.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2), arXiv:1912.04958; the page
stylegan2 says what is implemented.
"""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn

from ganzoo import Spec
from ganzoo_plugins.modulated import TINY, Activation, ModulatedConv2d, equalised
from ganzoo_plugins.resampling import double, pyramid


def unit(x: Tensor) -> Tensor:
    """Vectors (n, d) scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + TINY).rsqrt()


class Mapping(nn.Module):
    """From codes (n, latent) to w (n, style), by way of ``depth`` layers that learn at a hundredth of the rate."""

    def __init__(self, spec: Spec, style: int, depth: int) -> None:
        super().__init__()
        self.embedding = equalised(nn.Embedding(spec.classes, spec.latent)) if spec.classes else None
        widths = [spec.latent * (2 if spec.classes else 1), *[style] * depth]
        pairs = pairwise(widths)
        self.layers = nn.Sequential(
            *[layer for pair in pairs for layer in (equalised(nn.Linear(*pair), rate=0.01), Activation())]
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes w (n, style) of codes (n, latent) and, in a conditional recipe, labels (n,)."""
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
