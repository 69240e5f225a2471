"""How labels reach a network: behind its inputs, in its normalisation, or in a discriminator's last layer."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo.api.objective import Spec
from ganzoo.functional import one_hot

Conditioning = Literal["concat", "projection", "none"]
"""How a discriminator of a conditional recipe learns of the label. ``concat``: as maps behind the image (Mirza and
Osindero 2014). ``projection``: as a direction that features are projected on (Miyato & Koyama 2018, arXiv:1802.05637).
``none``: not at all, as where an auxiliary classifier judges classes."""

GeneratorConditioning = Literal["concat", "batch-norm"]
"""How a generator learns of the label. ``concat``: behind the latent code (Mirza & Osindero 2014). ``batch-norm``: as
scales and shifts after each batch normalisation (Dumoulin et al. 2017, arXiv:1610.07629)."""


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
    maps = one_hot(label, classes).to(inputs.dtype).view(-1, classes, *[1] * (inputs.dim() - 2))
    return torch.cat([inputs, maps.expand(-1, -1, *inputs.shape[2:])], dim=1)


def label_inputs(spec: Spec, conditioning: Conditioning) -> int:
    """Label maps behind a discriminator's images: one for each class under ``concat``, otherwise none."""
    return spec.classes if conditioning == "concat" else 0


class Head(nn.Module):
    """A discriminator's last layer: a linear function of the features, and what the label adds to it.

    Under ``projection`` the logit is w · φ(x) + b + v_y · φ(x), with an embedding v of the classes (Miyato & Koyama
    2018, arXiv:1802.05637).

    Args:
        width: Number of features.
        classes: Number of classes, 0 in an unconditional recipe.
        conditioning: Whether the label is projected on.
    """

    def __init__(self, width: int, classes: int = 0, conditioning: Conditioning = "none") -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.embedding = None
        if classes and conditioning == "projection":
            self.embedding = nn.Embedding(classes, width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n,) from features (n, width) and, where labels are projected on, labels (n,)."""
        logits: Tensor = self.linear(features).squeeze(1)
        if self.embedding is not None:
            assert label is not None, "a head built for classes needs labels"
            logits = logits + (self.embedding(label) * features).sum(1)
        return logits


class LabelAware(nn.Module):
    """A layer whose ``forward(x, label)`` takes the label too."""


class ConditionalBatchNorm(LabelAware):
    """Batch normalisation whose scale and shift are the label's (Dumoulin et al. 2017, arXiv:1610.07629).

    Args:
        channels: Features or feature maps.
        classes: Number of classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels, affine=False)
        self.scale = nn.Parameter(torch.ones(classes, channels))
        self.shift = nn.Parameter(torch.zeros(classes, channels))

    def forward(self, x: Tensor, label: Tensor) -> Tensor:
        """From (n, channels) or (n, channels, h, w) and labels (n,) to the same shape as x."""
        # No view to a shape: an exported graph would keep this batch's.
        maps = x if x.dim() == 4 else x[:, :, None, None]
        scale, shift = self.scale[label, :, None, None], self.shift[label, :, None, None]
        normalised = torch.addcmul(shift, self.norm(maps), scale)
        return normalised if x.dim() == 4 else normalised.flatten(1)


class LabelSequential(nn.Sequential):
    """A Sequential that passes the label on to its ``LabelAware`` layers."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """From the first layer's inputs (n, ...) and labels (n,) to the last layer's outputs."""
        for layer in self:
            x = layer(x, label) if isinstance(layer, LabelAware) else layer(x)
        return x


def batch_norm(channels: int, classes: int = 0) -> nn.Module:
    """Batch normalisation of maps (n, channels, h, w), conditional on the label where there are classes."""
    return ConditionalBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)
