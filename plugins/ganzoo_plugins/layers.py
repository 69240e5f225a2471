"""Building blocks that several pages share: normalisation by name, doubling, minibatch deviation, labels' ways in."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv_transpose2d, pixel_shuffle, pixel_unshuffle

from ganzoo import Spec, functional

Width = Annotated[int, Field(ge=1)]
"""Units or channels of a layer, as an option."""

Norm = Literal["none", "batch", "layer", "instance"]
"""``batch``: over the batch (Ioffe & Szegedy 2015). ``layer``: over a sample's features (Ba et al. 2016). ``instance``:
over each map of each sample (Ulyanov et al. 2016); a vector has no maps, so there it is the same as ``layer``."""

Conditioning = Literal["concat", "projection", "none"]
"""How a discriminator of a conditional recipe learns of the label. ``concat``: as maps behind the image (Mirza and
Osindero 2014). ``projection``: as a direction that features are projected on (Miyato & Koyama 2018, arXiv:1802.05637).
``none``: not at all, as where an auxiliary classifier judges classes."""

GeneratorConditioning = Literal["concat", "batch-norm"]
"""How a generator learns of the label. ``concat``: behind the latent code (Mirza & Osindero 2014). ``batch-norm``: as
scales and shifts after each batch normalisation (Dumoulin et al. 2017, arXiv:1610.07629)."""


def vector_norm(kind: Norm, width: int) -> list[nn.Module]:
    """The normalisation of vectors (n, width), as a list that is empty for ``none``."""
    if kind == "batch":
        return [nn.BatchNorm1d(width)]
    return [nn.LayerNorm(width)] if kind in ("layer", "instance") else []


def image_norm(kind: Norm, channels: int) -> list[nn.Module]:
    """The normalisation of feature maps (n, channels, h, w), as a list that is empty for ``none``."""
    if kind == "batch":
        return [nn.BatchNorm2d(channels)]
    if kind == "instance":
        return [nn.InstanceNorm2d(channels, affine=True)]
    return [nn.GroupNorm(1, channels)] if kind == "layer" else []


IMAGE_CHANNELS = 4
"""As many as an image has at most; kernels are slow with so few."""


class Doubling(nn.ConvTranspose2d):
    """A 4x4 transposed convolution with stride 2: feature maps (n, channels, h, w) to (n, narrower, 2h, 2w).

    To the few channels of an image it is computed as what it is on 2x2 blocks of pixels, taken as channels: a 2x2
    convolution without a stride. The sums are the same, and its kernels more than twice as fast.

    Args:
        channels: Of the input.
        narrower: Channels of the output.
        bias: Whether one is added.
    """

    def __init__(self, channels: int, narrower: int, *, bias: bool = True) -> None:
        super().__init__(channels, narrower, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Twice as high and wide."""
        if self.out_channels > IMAGE_CHANNELS or output_size is not None:
            return super().forward(input, output_size)
        bias = None if self.bias is None else self.bias.repeat_interleave(4)
        weight = pixel_unshuffle(self.weight, 2).contiguous(memory_format=torch.channels_last)
        blocks = conv_transpose2d(input, weight, bias)
        return pixel_shuffle(blocks.contiguous(), 2)[..., 1:-1, 1:-1]


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
        variance = maps.float().view(group, n // group, *maps.shape[1:]).var(0, correction=0)
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))
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
    maps = functional.one_hot(label, classes).to(inputs.dtype).view(-1, classes, *[1] * (inputs.dim() - 2))
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


class ToldTheLabel(nn.Module):
    """A layer whose ``forward(x, label)`` takes the label too."""


class ConditionalBatchNorm(ToldTheLabel):
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
        maps = x.view(len(x), x.shape[1], *(x.shape[2:] or (1, 1)))
        scale, shift = self.scale[label, :, None, None], self.shift[label, :, None, None]
        return torch.addcmul(shift, self.norm(maps), scale).view_as(x)


class Labelled(nn.Sequential):
    """Layers in a row, of which those that take the label are told it."""

    def forward(self, x: Tensor, label: Tensor | None = None) -> Tensor:
        """From the first layer's inputs (n, ...) and labels (n,) to the last layer's outputs."""
        for layer in self:
            x = layer(x, label) if isinstance(layer, ToldTheLabel) else layer(x)
        return x
