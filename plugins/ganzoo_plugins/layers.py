"""Building blocks that several pages share: normalisation by name, and labels as extra inputs."""

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
