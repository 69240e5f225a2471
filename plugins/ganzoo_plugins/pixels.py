"""Changes of images that several pages share, differentiable and without a wait for the device."""

from __future__ import annotations

import torch
from torch import Tensor


def per_image(values: Tensor) -> Tensor:
    """Values (n,) as (n, 1, 1, 1), one for each image."""
    return values.view(-1, 1, 1, 1)


def translate(images: Tensor, down: Tensor, right: Tensor, *, fill: float | None = None) -> Tensor:
    """Move each image by whole pixels.

    Args:
        images: Images (n, c, h, w).
        down: Pixels to move down, (n,) int64; negative moves up.
        right: Pixels to move right, (n,) int64.
        fill: What moves in; None repeats the edge.

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


def random_shift(images: Tensor, rows: int, columns: int, *, fill: float | None = None) -> Tensor:
    """Move each image by up to ``rows`` and ``columns`` whole pixels, uniformly drawn in each direction."""
    n, device = len(images), images.device
    down = torch.randint(-rows, rows + 1, (n,), device=device)
    right = torch.randint(-columns, columns + 1, (n,), device=device)
    return translate(images, down, right, fill=fill)


def random_windows(images: Tensor, share: float) -> Tensor:
    """Where a window falls whose centre is any pixel: bool (n, 1, h, w).

    Args:
        images: Images (n, c, h, w), for their size.
        share: Side of the window as a share of the image's.
    """
    covered = []
    for size in images.shape[2:]:
        side = round(size * share)
        first = torch.randint(size, (len(images), 1), device=images.device) - side // 2
        place = torch.arange(size, device=images.device)
        covered.append((place >= first) & (place < first + side))
    rows, columns = covered
    return (rows.unsqueeze(2) & columns.unsqueeze(1)).unsqueeze(1)
