"""Resampling by two with the filter [1, 3, 3, 1], which StyleGAN2 and R3GAN share.

Zhang 2019, "Making Convolutional Networks Shift-Invariant Again", arXiv:1904.11486: what is halved is blurred first.
As a way to double an image the filter is bilinear interpolation: each new pixel is 3/4 of the pixel it lies in and 1/4
of the next, along each axis.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, interpolate

from ganzoo import Spec
from ganzoo_plugins.dcgan import smallest_grid


class Blur(nn.Module):
    """Each map filtered with the outer product of [1, 3, 3, 1] / 8 with itself; beyond the edge are zeros.

    Args:
        padding: Zeros on each side; the result is ``2 * padding - 3`` pixels larger than the maps.
        gain: Factor of the result; 4 where three of four pixels are zeros that upsampling put in.
        step: Every how many pixels the result is kept; 2 halves maps whose ``padding`` is 1.
    """

    kernel: Tensor

    def __init__(self, padding: int = 1, *, gain: float = 1.0, step: int = 1) -> None:
        super().__init__()
        self.padding, self.step = padding, step
        taps = torch.tensor([1.0, 3.0, 3.0, 1.0]) / 8
        self.register_buffer("kernel", gain * torch.outer(taps, taps), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, c, h, w) to (n, c, ~h / step, ~w / step)."""
        channels = maps.shape[1]
        kernel = self.kernel.to(maps.dtype).expand(channels, 1, -1, -1)
        # On a CPU a depthwise convolution with a stride is slower than one that computes what is thrown away.
        return conv2d(maps, kernel, padding=self.padding, groups=channels)[..., :: self.step, :: self.step]


def double(maps: Tensor) -> Tensor:
    """From (n, c, h, w) to (n, c, 2h, 2w), bilinearly; at the edge the outermost pixels are repeated."""
    return interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def pyramid(spec: Spec, width: int, widest: int) -> tuple[list[int], int, int]:
    """Channels of each resolution from the coarsest to the image's, and the coarsest (height, width).

    Args:
        spec: Image sizes.
        width: Channels at the image's own resolution; each halving doubles them.
        widest: Where the doubling stops.
    """
    halvings, height, columns = smallest_grid(spec)
    return [min(width * 2**level, widest) for level in range(halvings, -1, -1)], height, columns


def edge_padding(spec: Spec) -> tuple[int, int, int, int]:
    """Zeros that make the image a multiple of its coarsest grid, as torch's ``pad`` takes them."""
    halvings, height, columns = smallest_grid(spec)
    return 0, columns * 2**halvings - spec.width, 0, height * 2**halvings - spec.height
