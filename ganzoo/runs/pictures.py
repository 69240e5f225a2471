"""Pictures of samples as PNG files: grids of images, scatter plots of points."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from ganzoo.files import write_atomically

GAP = 2
PLOT = 384


def grid(images: Tensor, columns: int | None = None) -> Tensor:
    """Lay images side by side on black.

    Args:
        images: uint8 (n, c, h, w).
        columns: Images in a row; the square root of n, rounded up, where None.

    Returns:
        uint8 (c, rows * (h + gap) + gap, columns * (w + gap) + gap).
    """
    n, channels, height, width = images.shape
    columns = columns or max(1, round(n**0.5 + 0.499))
    rows = -(-n // columns)
    canvas = images.new_zeros(channels, rows * (height + GAP) + GAP, columns * (width + GAP) + GAP)
    for index, image in enumerate(images):
        top, left = GAP + index // columns * (height + GAP), GAP + index % columns * (width + GAP)
        canvas[:, top : top + height, left : left + width] = image
    return canvas


def scatter(points: Tensor) -> Tensor:
    """Points as grey dots on black, the brighter the more of them fall on a pixel.

    Args:
        points: (n, ..., d), d at least 2; the last dimension's first two coordinates are drawn, to the right and
            upwards. What lies outside of [-1, 1] is drawn on the border.

    Returns:
        uint8 (1, 384, 384): 0 where there are no points, 96 for a single one, up to 255 where there are most.
    """
    places = ((points.flatten(0, -2)[:, :2] + 1) / 2 * (PLOT - 1)).round().clamp(0, PLOT - 1).long()
    across, down = places[:, 0], PLOT - 1 - places[:, 1]
    count = (down * PLOT + across).bincount(minlength=PLOT**2).float()
    # By logarithms, so that one point alone is seen beside hundreds on one pixel.
    brightness = 96 + 159 * count.log() / count.max().clamp(min=2).log()
    return brightness.where(count > 0, 0).round().to(torch.uint8).view(1, PLOT, PLOT)


def overview(samples: Tensor, columns: int | None = None) -> Tensor:
    """One picture of samples: a grid where they are images (uint8), a scatter plot where they are points (float32)."""
    return grid(samples, columns) if samples.dtype == torch.uint8 else scatter(samples)


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a uint8 picture (c, h, w), grey or RGB, as PNG, atomically."""
    pixels = picture[0].numpy() if picture.shape[0] == 1 else picture.permute(1, 2, 0).numpy()
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
