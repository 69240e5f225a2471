"""Larger building blocks that several pages share: residual blocks that double or halve a grid, and self-attention."""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, interpolate, max_pool2d, relu

from ganzoo_plugins.layers import ConditionalBatchNorm, Labelled, ToldTheLabel


def batch_norm(channels: int, classes: int = 0) -> nn.Module:
    """Batch normalisation of feature maps, by label where there are classes."""
    return ConditionalBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)


def convolution(channels: int, wider: int, kernel: int = 3, *, gain: float = 1.0, bias: bool = True) -> nn.Conv2d:
    """A convolution that keeps the grid, its weights uniform (Glorot & Bengio 2010) and its biases zero."""
    layer = nn.Conv2d(channels, wider, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualUp(ToldTheLabel):
    """SNGAN's residual block of a generator (Miyato et al. 2018, arXiv:1802.05957): doubles the grid.

    Normalise, rectify, repeat each value 2x2, convolve; normalise, rectify, convolve. The shortcut's convolution is
    1x1, so it comes before its values are repeated: the same numbers for a quarter of the work.

    Args:
        channels: Of the maps that come in.
        wider: Of the maps that leave.
        classes: Number of classes that normalisation depends on, 0 for none.
    """

    def __init__(self, channels: int, wider: int, classes: int = 0) -> None:
        super().__init__()
        self.residual = Labelled(
            batch_norm(channels, classes),
            nn.ReLU(),
            nn.UpsamplingNearest2d(scale_factor=2),
            convolution(channels, wider, gain=sqrt(2), bias=False),
            batch_norm(wider, classes),
            nn.ReLU(),
            convolution(wider, wider, gain=sqrt(2)),
        )
        self.shortcut = convolution(channels, wider, 1)

    def forward(self, maps: Tensor, label: Tensor | None = None) -> Tensor:
        """From (n, channels, h, w) and, where there are classes, labels (n,) to (n, wider, 2h, 2w)."""
        added: Tensor = self.residual(maps, label)
        return added + interpolate(self.shortcut(maps), scale_factor=2.0)


class ResidualDown(nn.Module):
    """SNGAN's residual block of a discriminator (Miyato et al. 2018, arXiv:1802.05957): nothing is normalised.

    Rectify, convolve, rectify, convolve, and average 2x2 values where the grid is halved. Averages come before 1x1
    convolutions, not after: the same numbers for a quarter of the work.

    Args:
        channels: Of the maps that come in.
        wider: Of the maps that leave.
        halve: Whether the grid, whose sides are then even, is halved.
        first: Whether the maps are the image itself, whose negative values are not rectified away.
    """

    def __init__(self, channels: int, wider: int, *, halve: bool = True, first: bool = False) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        hidden = wider if first else channels
        self.into = convolution(channels, hidden, gain=sqrt(2))
        self.out_of = convolution(hidden, wider, gain=sqrt(2))
        changes = halve or channels != wider
        self.shortcut = convolution(channels, wider, 1) if changes else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, channels, h, w) to (n, wider, h, w), or to (n, wider, h / 2, w / 2)."""
        added: Tensor = self.out_of(relu(self.into(maps if self.first else relu(maps))))
        if self.halve:
            added, maps = avg_pool2d(added, 2), avg_pool2d(maps, 2)
        return added.add(self.shortcut(maps))


class SelfAttention(nn.Module):
    """Every place looks at every other (Zhang et al. 2019, arXiv:1805.08318).

    With s_ij = f(x_i) · g(x_j) and β_j = softmax over i of s_ij, each place j gets o_j = v(Σ_i β_ji h(x_i)), and leaves
    as y_j = γ o_j + x_j. f, g, h and v are 1x1 convolutions by way of an eighth of the channels; γ starts at zero, so
    that the network first learns from its neighbourhoods. As in the authors' code and not in the equation, f(x) and
    h(x) are the largest of 2x2 places each, for a quarter of the work. The softmax is written out, because the fused
    one cannot be differentiated twice, as gradient penalties do.

    Args:
        channels: Of the maps that come in and leave.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        inner = max(1, channels // 8)
        self.keys, self.queries, self.values = (convolution(channels, inner, 1) for _ in range(3))
        self.out = convolution(inner, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, channels, h, w), with sides of at least 2, to the same shape."""
        keys, values = (max_pool2d(layer(maps), 2).flatten(2) for layer in (self.keys, self.values))
        attention = (self.queries(maps).flatten(2).transpose(1, 2) @ keys).softmax(-1)
        seen = values @ attention.transpose(1, 2)
        found: Tensor = self.out(seen.unflatten(2, maps.shape[2:]))
        return self.gamma * found + maps
