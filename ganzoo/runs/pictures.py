"""Grids of samples as PNG files."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image
from torch import Tensor

from ganzoo.runs.files import write_atomically

GAP = 2


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


def save_picture(picture: Tensor, path: Path) -> None:
    """Write a uint8 picture (c, h, w), grey or RGB, as PNG, atomically."""
    pixels = picture[0].numpy() if picture.shape[0] == 1 else picture.permute(1, 2, 0).numpy()
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", optimize=True)
    write_atomically(path, buffer.getvalue())
