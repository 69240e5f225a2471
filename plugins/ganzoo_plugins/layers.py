"""Building blocks that several pages share: normalisation by name, minibatch deviation, labels as extra inputs."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

Width = Annotated[int, Field(ge=1)]
"""Units or channels of a layer, as an option."""

Norm = Literal["none", "batch", "layer"]
"""``batch``: over the batch (Ioffe & Szegedy 2015). ``layer``: over a sample's features (Ba et al. 2016)."""


def vector_norm(kind: Norm, width: int) -> list[nn.Module]:
    """The normalisation of vectors (n, width), as a list that is empty for ``none``."""
    if kind == "batch":
        return [nn.BatchNorm1d(width)]
    return [nn.LayerNorm(width)] if kind == "layer" else []


def image_norm(kind: Norm, channels: int) -> list[nn.Module]:
    """The normalisation of feature maps (n, channels, h, w), as a list that is empty for ``none``."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    return [nn.GroupNorm(1, channels)] if kind == "layer" else []


class MinibatchStd(nn.Module):
    """Adds a feature map that tells how much images of a batch differ (Karras et al. 2018, arXiv:1710.10196, sec. 3).

    The standard deviation over a group of images, averaged over all features and pixels, as a constant map behind the
    others. A collapsed generator is then plain to see.

    Args:
        group: Images that are compared with one another; the largest divisor of the batch size that is not larger.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, c, h, w) to (n, c + 1, h, w)."""
        n, _, height, width = maps.shape
        group = max(size for size in range(1, min(self.group, n) + 1) if n % size == 0)
        # Image i is compared with i + n / group, i + 2n / group, ..., as in the authors' code.
        variance = maps.float().view(group, n // group, -1).var(0, correction=0)
        deviation = (variance + 1e-8).sqrt().mean(1)
        extra = deviation.to(maps.dtype).repeat(group).view(n, 1, 1, 1)
        return torch.cat([maps, extra.expand(-1, -1, height, width)], dim=1)


def with_label(inputs: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Inputs with their one-hot labels behind them, as columns or as constant maps (Mirza & Osindero 2014).

    Args:
        inputs: Vectors (n, d) or images (n, c, h, w).
        label: Classes (n,), int64. Not looked at where ``classes`` is 0.
        classes: Number of classes; 0 returns the inputs as they are.

    Returns:
        (n, d + classes) or (n, c + classes, h, w).
    """
    if not classes:
        return inputs
    assert label is not None, "a network built for classes needs labels"
    one_hot = label.unsqueeze(1) == torch.arange(classes, device=label.device)
    maps = one_hot.to(inputs.dtype).view(-1, classes, *[1] * (inputs.dim() - 2))
    return torch.cat([inputs, maps.expand(-1, -1, *inputs.shape[2:])], dim=1)
