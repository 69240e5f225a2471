"""Convolutions that halve or double the grid (Radford et al. 2015, arXiv:1511.06434), quick on images too."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d, pad, pixel_shuffle, pixel_unshuffle

FEW = 4
"""Channels of an image, which are too few for a convolution's kernels to be quick with."""


class Halving(nn.Conv2d):
    """A 4x4 convolution with stride 2: feature maps (n, channels, h, w) to (n, wider, h / 2, w / 2).

    On few channels it is computed as what it is on 2x2 blocks of pixels, taken as channels: a 2x2 convolution without a
    stride. The sums are the same, and several times as fast.

    Args:
        channels: Of the input.
        wider: Channels of the output.
        bias: Whether one is added.
    """

    def __init__(self, channels: int, wider: int, *, bias: bool = True) -> None:
        super().__init__(channels, wider, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """Half as high and wide."""
        if self.in_channels > FEW or input.shape[-1] % 2 or input.shape[-2] % 2:
            return super().forward(input)
        blocks = pixel_unshuffle(pad(input, (1, 1, 1, 1)), 2)
        return conv2d(_channels_last(blocks), _channels_last(pixel_unshuffle(self.weight, 2)), self.bias)


class Doubling(nn.ConvTranspose2d):
    """A 4x4 transposed convolution with stride 2: feature maps (n, channels, h, w) to (n, narrower, 2h, 2w).

    To few channels it is computed the way that ``Halving`` is.

    Args:
        channels: Of the input.
        narrower: Channels of the output.
        bias: Whether one is added.
    """

    def __init__(self, channels: int, narrower: int, *, bias: bool = True) -> None:
        super().__init__(channels, narrower, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Twice as high and wide."""
        if self.out_channels > FEW or output_size is not None:
            return super().forward(input, output_size)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        blocks = conv_transpose2d(input, _channels_last(pixel_unshuffle(self.weight, 2)), bias)
        return pixel_shuffle(blocks.contiguous(), 2)[..., 1:-1, 1:-1]


def _channels_last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
