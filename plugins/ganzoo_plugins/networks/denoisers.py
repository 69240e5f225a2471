"""Denoisers: from noisy samples and their time to what a flow or a diffusion process predicts.

Ho, Jain & Abbeel 2020, "Denoising Diffusion Probabilistic Models", arXiv:2006.11239, appendix B: a U-Net of residual
blocks, each of which receives the time,

    h + Conv(σ(GN(Conv(σ(GN(h))) + W σ(e(t)))))        σ(x) = x · sigmoid(x)

e(t) is two linear layers on sines and cosines of 1000 t, t in [0, 1]. Maps are halved and doubled between resolutions,
and each block on the way up also receives the maps of a block on the way down.

Differences from the paper:

- One block for each resolution by default, not two (three on the way up in the authors' code, which also passes on what
  the first convolution and each halving give), and no dropout. Channels double with each halving up to four times the
  width. Groups have at least eight channels, and the last convolution does not start at zero.
- Optionally, the U-Net works on squares of pixels instead of single ones, for speed, as in Hoogeboom et al. 2023,
  arXiv:2301.11093.
- Halving is 2x2 average pooling; both it and doubling have no convolution of their own.
- Self-attention, as in SAGAN, is at the lowest resolution only.
- In a conditional recipe, a learned vector for the class is added to e(t), as in Dhariwal & Nichol 2021,
  arXiv:2105.05233.
- The MLP is not from the paper. Its residual blocks receive the time as scales and shifts. Its output includes the
  input times a learned function of the time: noise has as many dimensions as the image, too many for hidden layers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, pixel_shuffle, pixel_unshuffle, silu

from ganzoo import Spec
from ganzoo.layers import PadToEven, SelfAttention, channel_pyramid

WIDEST = 4
"""Channels of the lowest resolutions, as a multiple of the width."""


def waves(t: Tensor, width: int) -> Tensor:
    """Sines and cosines (n, width) of times (n,) in [0, 1] multiplied by frequencies from 1000 down to 0.1."""
    half = -(-width // 2)
    frequencies = torch.exp(torch.arange(half, device=t.device) * (-math.log(10_000) / max(1, half - 1)))
    angles = 1000 * t[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


class Moment(nn.Module):
    """e(t): an embedding of the time and, in a conditional recipe, of the class.

    Args:
        width: Number of waves.
        wider: Width of the embedding.
        classes: Number of classes in a conditional recipe, 0 otherwise.
    """

    def __init__(self, width: int, wider: int, classes: int) -> None:
        super().__init__()
        self.width = width
        self.layers = nn.Sequential(nn.Linear(width, wider), nn.SiLU(), nn.Linear(wider, wider))
        self.of_class = nn.Embedding(classes, wider) if classes else None

    def forward(self, t: Tensor, label: Tensor | None) -> Tensor:
        """σ(e) (n, wider) of times (n,) in [0, 1] and labels (n,)."""
        moment: Tensor = self.layers(waves(t, self.width))
        if self.of_class is not None:
            moment = moment + self.of_class(label)
        return silu(moment)


def group_norm(channels: int) -> nn.GroupNorm:
    """Normalisation over groups of at least eight channels."""
    return nn.GroupNorm(math.gcd(channels, max(1, channels // 8)), channels)


class Block(nn.Module):
    """The residual block above.

    Args:
        channels: Channels of the input.
        wider: Channels of the output.
        moment: Width of e(t).
    """

    def __init__(self, channels: int, wider: int, moment: int) -> None:
        super().__init__()
        self.into = nn.Sequential(group_norm(channels), nn.SiLU(), nn.Conv2d(channels, wider, 3, padding=1))
        self.of_moment = nn.Linear(moment, wider)
        self.out_of = nn.Sequential(group_norm(wider), nn.SiLU(), nn.Conv2d(wider, wider, 3, padding=1))
        self.shortcut = nn.Identity() if channels == wider else nn.Conv2d(channels, wider, 1)
        nn.init.zeros_(self.out_of[-1].weight)  # type: ignore[arg-type]

    def forward(self, maps: Tensor, moment: Tensor) -> Tensor:
        """From (n, channels, h, w) and σ(e) (n, moment) to (n, wider, h, w)."""
        inner = self.into(maps) + self.of_moment(moment)[:, :, None, None]
        result: Tensor = self.shortcut(maps) + self.out_of(inner)
        return result


class UNet(nn.Module):
    """From noisy images (n, c, h, w), times and labels to predictions (n, c, h, w).

    Args:
        spec: Image and class sizes.
        width: Channels at full resolution.
        blocks: Residual blocks for each resolution, on the way down and on the way up.
        patch: Side of the squares of pixels that it works on.
    """

    def __init__(self, spec: Spec, width: int, blocks: int, patch: int) -> None:
        super().__init__()
        self.patch, self.blocks = patch, blocks
        self.padding = (0, -spec.width % patch, 0, -spec.height % patch)
        values = spec.channels * patch**2
        size = Spec((values, -(-spec.height // patch), -(-spec.width // patch)), spec.prior)
        levels = channel_pyramid(size, width, WIDEST * width)[:0:-1]  # not the coarsest: 28x28 ends at 7x7
        widths = [channels for channels in levels for _ in range(blocks)]
        moment = 4 * width
        self.moment = Moment(width, moment, spec.classes)
        self.first = nn.Conv2d(values, width, 3, padding=1)
        self.halve = nn.Sequential(PadToEven(), nn.AvgPool2d(2))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        channels = width
        for wider in widths:
            self.down.append(Block(channels, wider, moment))
            channels = wider
        self.middle = nn.ModuleList([Block(channels, channels, moment), Block(channels, channels, moment)])
        self.attention = SelfAttention(channels)
        for narrower in reversed(widths):
            self.up.append(Block(channels + narrower, narrower, moment))
            channels = narrower
        self.last = nn.Sequential(group_norm(channels), nn.SiLU(), nn.Conv2d(channels, values, 3, padding=1))

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        """Predictions (n, c, h, w) for noisy images (n, c, h, w) at times (n,) in [0, 1]."""
        moment, seen = self.moment(t, label), []
        maps = self.first(pixel_unshuffle(pad(x, self.padding), self.patch))
        for index, block in enumerate(self.down):
            if index and index % self.blocks == 0:
                maps = self.halve(maps)
            maps = block(maps, moment)
            seen.append(maps)
        maps = self.middle[0](maps, moment)
        maps = self.middle[1](self.attention(maps), moment)
        for block in self.up:
            skip = seen.pop()
            if maps.shape[2:] != skip.shape[2:]:
                maps = interpolate(maps, scale_factor=2)[:, :, : skip.shape[2], : skip.shape[3]]
            maps = block(torch.cat([maps, skip], dim=1), moment)
        return pixel_shuffle(self.last(maps), self.patch)[:, :, : x.shape[2], : x.shape[3]]


class MLPBlock(nn.Module):
    """x + W σ(LN(x) · (1 + s) + b), where s and b are linear functions of σ(e(t)).

    Args:
        width: Width of x and of e.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.of_moment = nn.Linear(width, 2 * width)
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor, moment: Tensor) -> Tensor:
        """From (n, width) and σ(e) (n, width) to (n, width)."""
        scale, shift = self.of_moment(moment).chunk(2, dim=1)
        changed: Tensor = self.linear(silu(torch.addcmul(shift, self.norm(x), 1 + scale)))
        return x + changed


class MLP(nn.Module):
    """From noisy samples (n, *shape), times and labels to predictions (n, *shape).

    Args:
        spec: Sample and class sizes.
        width: Width of the hidden layers.
        blocks: Number of residual blocks.
    """

    def __init__(self, spec: Spec, width: int, blocks: int) -> None:
        super().__init__()
        self.moment = Moment(min(width, 128), width, spec.classes)
        self.first = nn.Linear(spec.pixels, width)
        self.blocks = nn.ModuleList(MLPBlock(width) for _ in range(blocks))
        self.last = nn.Sequential(nn.LayerNorm(width), nn.SiLU(), nn.Linear(width, spec.pixels))
        self.copied = nn.Linear(width, 1)

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        """Predictions (n, *shape) for noisy samples (n, *shape) at times (n,) in [0, 1]."""
        moment, flat = self.moment(t, label), x.flatten(1)
        hidden = self.first(flat)
        for block in self.blocks:
            hidden = block(hidden, moment)
        out: Tensor = self.last(hidden) + self.copied(moment) * flat
        return out.view(x.shape)
