"""Images: their resolutions, resampling by two, and differentiable transformations of single images.

Resampling uses the filter [1, 3, 3, 1], as in StyleGAN2 and R3GAN: maps are blurred before they are halved (Zhang 2019,
"Making Convolutional Networks Shift-Invariant Again", arXiv:1904.11486), and doubled by bilinear interpolation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from ganzoo import functional
from ganzoo.api.objective import Spec


def pyramid_sizes(spec: Spec) -> list[tuple[int, int]]:
    """(height, width) of every resolution, from the coarsest to the image's own.

    Sides are halved, rounding up, at least once and then while both remain at least 4: 28x28 gives 4, 7, 14, 28.
    """
    sizes = [(spec.height, spec.width)]
    while len(sizes) == 1 or min(sizes[0]) > 6:
        sizes.insert(0, (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2)))
    return sizes


def channel_pyramid(spec: Spec, width: int, widest: int) -> list[int]:
    """Channels at each of ``pyramid_sizes``: ``width`` at full size, doubled with each halving up to ``widest``."""
    return [min(width * 2**level, widest) for level in reversed(range(len(pyramid_sizes(spec))))]


class Blur(nn.Module):
    """Filters each map with the outer product of [1, 3, 3, 1] / 8 with itself, padding the edges with zeros.

    Args:
        padding: Zeros on each side; the result is ``2 * padding - 3`` pixels larger than the maps.
        gain: Factor of the result; use 4 if three of four pixels are zeros that upsampling inserted.
        step: Stride of the result; 2, with a ``padding`` of 1, halves the maps.
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
        # On a CPU, a strided depthwise convolution is slower than computing all pixels and dropping some.
        blurred = functional.grouped_conv2d(maps, kernel, padding=self.padding, groups=channels)
        return blurred[..., :: self.step, :: self.step]


def upsample2x(maps: Tensor) -> Tensor:
    """From (n, c, h, w) to (n, c, 2h, 2w), bilinearly; the outermost pixels are repeated beyond the edge."""
    return interpolate(maps, scale_factor=2, mode="bilinear", align_corners=False)


def per_sample(values: Tensor) -> Tensor:
    """Values (n,) as (n, 1, 1, 1), one for each image."""
    return values.view(-1, 1, 1, 1)


def translate(images: Tensor, down: Tensor, right: Tensor, *, fill: float | None = None) -> Tensor:
    """Move each image by whole pixels.

    Args:
        images: Images (n, c, h, w).
        down: Pixels to move down, (n,) int64; negative moves up.
        right: Pixels to move right, (n,) int64.
        fill: Value of the pixels that move in; None repeats the edge pixels.

    Returns:
        Images (n, c, h, w).
    """
    moved = images
    for dimension, shift in ((2, down), (3, right)):
        size = images.shape[dimension]
        source = torch.arange(size, device=images.device) - shift.view(-1, 1)
        source = source.view(-1, 1, *((size, 1) if dimension == 2 else (1, size)))
        moved = moved.gather(dimension, source.clamp(0, size - 1).expand_as(moved))
        if fill is not None:
            moved = torch.where((source >= 0) & (source < size), moved, fill)
    return moved


def sample_bilinear(images: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Sample images at given positions: torch's ``grid_sample``, but twice differentiable, as gradient penalties need.

    Args:
        images: Images (n, c, h, w).
        x: Source column of each new pixel, (n, height, width), in pixels; 0 is the centre of the first. Without
            gradients.
        y: Source row of each new pixel, in the same format.

    Returns:
        Images (n, c, height, width), interpolated bilinearly. Images are reflected at their borders.
    """
    n, channels, height, width = images.shape
    x, y = _reflected(x, width), _reflected(y, height)
    left, top = x.floor(), y.floor()
    across, down = x - left, y - top
    corner = (top * width + left).long()
    # In the last column and row, the next pixel has weight 0, so the same pixel is read instead.
    right, below = (left < width - 1).long(), (top < height - 1).long() * width

    def taken(offset: Tensor | int, share: Tensor) -> Tensor:
        index = (corner + offset).flatten(1).unsqueeze(1).expand(-1, channels, -1)
        return images.flatten(2).gather(2, index) * share.flatten(1).unsqueeze(1)

    above = taken(0, (1 - down) * (1 - across)) + taken(right, (1 - down) * across)
    under = taken(below, down * (1 - across)) + taken(right + below, down * across)
    return (above + under).view(n, channels, *x.shape[1:])


def _reflected(places: Tensor, size: int) -> Tensor:
    """Positions on a line of pixels, reflected at its ends (the outer edges of the pixels), within [0, size - 1]."""
    period = 2 * size
    once = places + 0.5
    once = once - (once / period).floor() * period
    return (torch.minimum(once, period - once) - 0.5).clamp(0, size - 1)


def random_shift(images: Tensor, rows: int, columns: int, *, fill: float | None = None) -> Tensor:
    """Move each image by up to ``rows`` and ``columns`` whole pixels, uniformly drawn in each direction."""
    n, device = len(images), images.device
    down = torch.randint(-rows, rows + 1, (n,), device=device)
    right = torch.randint(-columns, columns + 1, (n,), device=device)
    return translate(images, down, right, fill=fill)


def random_windows(images: Tensor, share: float) -> Tensor:
    """Masks of random windows, one for each image, centred anywhere on it: bool (n, 1, h, w).

    The centre is a pixel if the window's side is odd, and a corner of pixels, including the border, if it is even, so
    that left and right, and top and bottom, are covered equally often.

    Args:
        images: Images (n, c, h, w), for their size.
        share: Side of the window as a share of the image's, rounded to whole pixels, with halves rounded up.
    """
    covered = []
    for size in images.shape[2:]:
        side = int(size * share + 0.5)
        first = torch.randint(size + 1 - side % 2, (len(images), 1), device=images.device) - side // 2
        place = torch.arange(size, device=images.device)
        covered.append((place >= first) & (place < first + side))
    rows, columns = covered
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
