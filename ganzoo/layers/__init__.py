"""Building blocks that networks share: conditioning on labels, normalisation, residual blocks, resampling."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import sqrt
from typing import Annotated, Any, Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import avg_pool2d, conv_transpose2d, max_pool2d, pad, pixel_shuffle, relu
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.api.bounds import Width
from ganzoo.api.objective import Spec
from ganzoo.errors import GanzooError
from ganzoo.functional import grouped_conv2d, one_hot
from ganzoo.layers.images import (
    Blur,
    channel_pyramid,
    per_sample,
    pyramid_sizes,
    random_shift,
    random_windows,
    sample_bilinear,
    translate,
    upsample2x,
)

__all__ = [
    "Blur",
    "ConditionalBatchNorm",
    "Conditioning",
    "Crop",
    "Depth",
    "GeneratorConditioning",
    "GroupedConv2d",
    "Head",
    "ImageTanh",
    "LabelAware",
    "LabelSequential",
    "MinibatchStd",
    "Norm",
    "PadToEven",
    "ResidualDown",
    "ResidualUp",
    "SelfAttention",
    "Slope",
    "Trunk",
    "UpConv2d",
    "Width",
    "as_trunk",
    "batch_norm",
    "channel_pyramid",
    "image_norm",
    "label_inputs",
    "own_statistics",
    "per_sample",
    "pyramid_sizes",
    "random_shift",
    "random_windows",
    "sample_bilinear",
    "translate",
    "upsample2x",
    "vector_norm",
    "with_label",
    "xavier_conv2d",
]

Depth = Annotated[int, Field(ge=1, le=1000)]
"""Number of consecutive layers or blocks, as an option."""

Slope = Annotated[float, Field(ge=0, le=1)]
"""Negative slope of a leaky ReLU, as an option."""

Norm = Literal["none", "batch", "layer", "instance"]
"""``batch``: over the batch (Ioffe & Szegedy 2015). ``layer``: over a sample's features (Ba et al. 2016). ``instance``:
over each map of each sample (Ulyanov et al. 2016); a vector has no maps, so there it is the same as ``layer``."""

Conditioning = Literal["concat", "projection", "none"]
"""How a discriminator of a conditional recipe receives the label. ``concat``: one-hot, appended to the image (Mirza &
Osindero 2014), as constant maps before convolutions (Radford et al. 2015). ``projection``: as a direction that features
are projected onto (Miyato & Koyama 2018, arXiv:1802.05637). ``none``: not at all, for instance if an auxiliary
classifier judges classes."""

GeneratorConditioning = Literal["concat", "batch-norm"]
"""How a generator receives the label. ``concat``: appended to the latent code (Mirza & Osindero 2014). ``batch-norm``:
as scales and shifts after each batch normalisation (de Vries et al. 2017, arXiv:1707.00683, following Dumoulin et al.
2017, arXiv:1610.07629, who put them after instance normalisation)."""


def with_label(inputs: Tensor, label: Tensor | None, classes: int) -> Tensor:
    """Append one-hot labels to inputs, as columns or as constant maps (Mirza & Osindero 2014).

    Args:
        inputs: Vectors (n, d) or images (n, c, h, w).
        label: Classes (n,), int64. Ignored if ``classes`` is 0.
        classes: Number of classes; 0 returns the inputs unchanged.

    Returns:
        (n, d + classes) or (n, c + classes, h, w).
    """
    if not classes:
        return inputs
    assert label is not None, "a network built for classes needs labels"
    maps = one_hot(label, classes).to(inputs.dtype).view(-1, classes, *[1] * (inputs.dim() - 2))
    return torch.cat([inputs, maps.expand(-1, -1, *inputs.shape[2:])], dim=1)


def label_inputs(spec: Spec, conditioning: Conditioning) -> int:
    """Number of label maps appended to a discriminator's images: one per class with ``concat``, otherwise 0."""
    return spec.classes if conditioning == "concat" else 0


class Head(nn.Module):
    """A discriminator's last layer: a linear function of the features, plus the label's term with ``projection``.

    With ``projection``, the logit is w · φ(x) + b + v_y · φ(x), with an embedding v of the classes (Miyato & Koyama
    2018, arXiv:1802.05637).

    Args:
        width: Number of features.
        classes: Number of classes, 0 in an unconditional recipe.
        conditioning: ``projection`` adds the label's term; other values do not.
    """

    def __init__(self, width: int, classes: int = 0, conditioning: Conditioning = "none") -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)
        self.embedding = None
        if classes and conditioning == "projection":
            self.embedding = nn.Embedding(classes, width)
            nn.init.normal_(self.embedding.weight, std=width**-0.5)

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n,) from features (n, width) and, with ``projection``, labels (n,)."""
        logits: Tensor = self.linear(features).squeeze(1)
        if self.embedding is not None:
            assert label is not None, "a head built for classes needs labels"
            logits = logits + (self.embedding(label) * features).sum(1)
        return logits


class LabelAware(nn.Module):
    """A layer whose ``forward(x, label)`` also takes the label."""


class ConditionalBatchNorm(LabelAware):
    """Batch normalisation whose scale and shift depend on the label (de Vries et al. 2017, arXiv:1707.00683).

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
        """From (n, channels) or (n, channels, h, w) and labels (n,) to the same shape as x.

        Raises:
            GanzooError: In training mode, there is a single vector, which has no statistics.
        """
        if self.norm.training and x.dim() == 2 and len(x) == 1:
            raise GanzooError(
                "Batch normalisation needs at least two images, but a process gets only one of each batch.",
                "Raise train.batch_size.",
            )
        # Not a view to a fixed shape: an exported graph would keep this batch's size.
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
    """Batch normalisation of maps (n, channels, h, w), conditional on the label if there are classes."""
    return ConditionalBatchNorm(channels, classes) if classes else nn.BatchNorm2d(channels)


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


class ImageTanh(nn.Module):
    """A generator's last layer: the tanh of pixels, at least in single precision.

    In bfloat16, tanh is exactly ±1 from ±3.5 onwards, where its slope is 0, so a pixel that got there would be stuck.
    """

    def forward(self, pixels: Tensor) -> Tensor:
        """Any shape."""
        return torch.tanh(pixels.to(torch.promote_types(pixels.dtype, torch.float32)))


class PadToEven(nn.Module):
    """Pads odd sides with one row or column of zeros, so that halving rounds up."""

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, c, h, w) to (n, c, h or h + 1, w or w + 1)."""
        height, width = maps.shape[2:]
        return pad(maps, (0, width % 2, 0, height % 2)) if height % 2 or width % 2 else maps


class Crop(nn.Module):
    """Crops the extra row or column that doubling a rounded-up side leaves.

    Args:
        size: (height, width) of the result.
    """

    def __init__(self, size: tuple[int, int]) -> None:
        super().__init__()
        self.size = size

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, c, h, w) to (n, c, *size)."""
        return maps[..., : self.size[0], : self.size[1]]


IMAGE_CHANNELS = 4  # torch is slow at transposed convolutions to this many channels or fewer, as images have


class UpConv2d(nn.ConvTranspose2d):
    """A 4x4 transposed convolution with stride 2: feature maps (n, in_channels, h, w) to (n, out_channels, 2h, 2w).

    For the few channels of an image, it is computed as a 2x2 transposed convolution with stride 1 to four times as many
    channels, which are then shuffled into 2x2 blocks of pixels. The sums are the same, and the kernels are more than
    twice as fast.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        bias: Whether to add a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, *, bias: bool = True) -> None:
        super().__init__(in_channels, out_channels, 4, 2, 1, bias=bias)

    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """From (n, in_channels, h, w) to (n, out_channels, 2h, 2w)."""
        if self.out_channels > IMAGE_CHANNELS or output_size is not None:
            return super().forward(input, output_size)
        # repeat_interleave and pixel_unshuffle, spelt out: torch 2.8 does not export them as ONNX, or does so wrongly.
        bias = None if self.bias is None else self.bias.unsqueeze(1).expand(-1, 4).flatten()
        blocked = self.weight.view(-1, self.out_channels, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4).flatten(1, 3)
        weight = blocked.contiguous(memory_format=torch.channels_last)
        blocks = conv_transpose2d(input, weight, bias)
        return pixel_shuffle(blocks.contiguous(), 2)[..., 1:-1, 1:-1]


class GroupedConv2d(nn.Conv2d):
    """A grouped convolution for networks under gradient penalties; see ``functional.grouped_conv2d``.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        kernel: Side of the kernel, or (height, width).
        groups: Number of groups that input and output channels are divided into.
        padding: Zeros on each side.
        bias: Whether to add a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        *,
        groups: int,
        padding: int = 0,
        bias: bool = True,
    ) -> None:
        super().__init__(in_channels, out_channels, kernel, padding=padding, groups=groups, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """From (n, in_channels, h, w) to (n, out_channels, h, w), smaller if the kernel needs more padding."""
        padding = cast("int", self.padding[0])
        return grouped_conv2d(input, self.weight, self.bias, padding=padding, groups=self.groups)


def xavier_conv2d(
    in_channels: int, out_channels: int, kernel: int = 3, *, gain: float = 1.0, bias: bool = True
) -> nn.Conv2d:
    """A convolution that keeps the size of the maps, with uniform weights (Glorot & Bengio 2010) and zero biases."""
    layer = nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=bias)
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


class ResidualUp(LabelAware):
    """SNGAN's residual block for generators (Miyato et al. 2018, arXiv:1802.05957): doubles the resolution.

    Normalise, ReLU, repeat each value 2x2, convolve; normalise, ReLU, convolve. The shortcut's convolution is 1x1, so
    it comes before the repetition: the same result for a quarter of the work.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        size: (height, width) of the output: twice the input's, or one less.
        classes: Number of classes that normalisation is conditional on; 0 for none.
    """

    def __init__(self, in_channels: int, out_channels: int, size: tuple[int, int], classes: int = 0) -> None:
        super().__init__()
        self.residual = LabelSequential(
            batch_norm(in_channels, classes),
            nn.ReLU(),
            nn.UpsamplingNearest2d(scale_factor=2),
            Crop(size),
            xavier_conv2d(in_channels, out_channels, gain=sqrt(2), bias=False),
            batch_norm(out_channels, classes),
            nn.ReLU(),
            xavier_conv2d(out_channels, out_channels, gain=sqrt(2)),
        )
        self.shortcut = nn.Sequential(
            xavier_conv2d(in_channels, out_channels, 1), nn.UpsamplingNearest2d(scale_factor=2), Crop(size)
        )

    def forward(self, maps: Tensor, label: Tensor | None = None) -> Tensor:
        """From (n, in_channels, h, w) and, if there are classes, labels (n,) to (n, out_channels, *size)."""
        added: Tensor = self.residual(maps, label)
        return added + cast("Tensor", self.shortcut(maps))


class ResidualDown(nn.Module):
    """SNGAN's residual block for discriminators (Miyato et al. 2018, arXiv:1802.05957), without normalisation.

    ReLU, convolve, ReLU, convolve, and 2x2 average pooling if ``halve``. The shortcut pools before its 1x1 convolution,
    not after it: the same result for a quarter of the work.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels of the output.
        halve: Whether to halve the resolution; odd sides are padded with zeros, so halving rounds up.
        first: Whether the input is the image itself; the first ReLU, which would drop its negative values, is then
            left out.
    """

    def __init__(self, in_channels: int, out_channels: int, *, halve: bool = True, first: bool = False) -> None:
        super().__init__()
        self.first, self.halve = first, halve
        hidden = out_channels if first else in_channels
        self.into = xavier_conv2d(in_channels, hidden, gain=sqrt(2))
        self.out_of = xavier_conv2d(hidden, out_channels, gain=sqrt(2))
        changes = halve or in_channels != out_channels
        self.shortcut = xavier_conv2d(in_channels, out_channels, 1) if changes else nn.Identity()
        self.pad = PadToEven() if halve else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, in_channels, h, w) to (n, out_channels, h, w), or to (n, out_channels, h / 2, w / 2)."""
        maps = self.pad(maps)
        added: Tensor = self.out_of(relu(self.into(maps if self.first else relu(maps))))
        if self.halve:
            added, maps = avg_pool2d(added, 2), avg_pool2d(maps, 2)
        return added.add(self.shortcut(maps))


class SelfAttention(nn.Module):
    """Every position attends to every other (Zhang et al. 2019, arXiv:1805.08318).

    With s_ij = f(x_i) · g(x_j) and β_j = softmax over i of s_ij, each position j gets o_j = v(Σ_i β_ji h(x_i)), and the
    output is y_j = γ o_j + x_j. f, g, h and v are 1x1 convolutions: f and g to an eighth of the channels, but at least
    eight, because few places can be told apart in one or two dimensions; h to half of them, and v back to all. γ starts
    at zero, so that the network first relies on local neighbourhoods. As in the authors' code but not in the equation,
    f(x) and h(x) are max-pooled 2x2, for a quarter of the work. Attention is written out, because torch's fused kernel
    cannot be differentiated twice, as gradient penalties require.

    Args:
        channels: Channels of the input and the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        compared, carried = max(8, channels // 8), max(1, channels // 2)
        self.keys, self.queries = (xavier_conv2d(channels, compared, 1) for _ in range(2))
        self.values = xavier_conv2d(channels, carried, 1)
        self.out = xavier_conv2d(carried, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, channels, h, w), with sides of at least 2, to the same shape."""
        keys, values = (max_pool2d(layer(maps), 2).flatten(2) for layer in (self.keys, self.values))
        attention = (self.queries(maps).flatten(2).transpose(1, 2) @ keys).softmax(-1)
        attended = values @ attention.transpose(1, 2)
        out: Tensor = self.out(attended.unflatten(2, maps.shape[2:]))
        return self.gamma * out + maps


class MinibatchStd(nn.Module):
    """Adds a map that measures how much the images of a batch differ (Karras et al. 2018, arXiv:1710.10196, section 3).

    The map is constant and appended to the others: the standard deviation over a group of images (four, as in the
    authors' code), averaged over all features and pixels. It makes a collapsed generator easy to detect.

    Args:
        group: Images in a group; if it does not divide the batch size, the largest divisor below it is used or, if that
            is 1, the smallest above.
    """

    def __init__(self, group: int = 4) -> None:
        super().__init__()
        self.group = group

    def forward(self, maps: Tensor) -> Tensor:
        """From (n, c, h, w) to (n, c + 1, h, w)."""
        n, _, height, width = maps.shape
        divisors = [size for size in range(2, n + 1) if n % size == 0] or [1]
        group = max((size for size in divisors if size <= self.group), default=divisors[0])
        # Image i is compared with i + n / group, i + 2n / group, ..., as in the authors' code.
        precise = maps.to(torch.promote_types(maps.dtype, torch.float32)).view(group, n // group, *maps.shape[1:])
        variance = (precise - precise.mean(0)).square().mean(0)  # on a CPU several times as fast as torch.var
        deviation = (variance + 1e-8).sqrt().mean((1, 2, 3))
        extra = deviation.to(maps.dtype).repeat(group).view(n, 1, 1, 1)
        return torch.cat([maps, extra.expand(-1, -1, height, width)], dim=1)


@contextmanager
def own_statistics(*networks: nn.Module) -> Iterator[None]:
    """Make batch normalisation use each batch's own statistics in the block, and leave the running ones unchanged.

    For inputs that do not match the running statistics: those of an autoencoder's decoder may come from the codes of
    images, from the prior's codes, or from both. Not for a single sample, which has no statistics.
    """
    norms = [part for network in networks for part in network.modules() if isinstance(part, _BatchNorm)]
    before = [(norm.training, norm.track_running_stats) for norm in norms]
    try:
        for norm in norms:
            norm.training, norm.track_running_stats = True, False
        yield
    finally:
        for norm, (training, tracking) in zip(norms, before, strict=True):
            norm.training, norm.track_running_stats = training, tracking


class Trunk(nn.Module):
    """A network whose ``forward`` applies its head to its features, which other heads can share.

    Attributes:
        label_inputs: Columns or maps of the label that are appended to the images, 0 if there are none.
        layers: From images (n, c + label_inputs, h, w) to features, unless ``features`` is overridden.
        feature_width: Number of features.
        head: From features (n, feature_width), and labels (n,) in a conditional recipe, to the network's output.
    """

    label_inputs = 0
    layers: Any
    feature_width: int
    head: Any

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        return cast("Tensor", self.layers(with_label(images, label, self.label_inputs)))

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """The head's output, such as logits (n,); labels (n,) in a conditional recipe."""
        return cast("Tensor", self.head(self.features(images, label), *(() if label is None else (label,))))


def as_trunk(network: nn.Module, role: str, reader: str) -> Trunk:
    """The network as a ``Trunk``, if it exposes its features.

    Args:
        network: The network.
        role: The network's role in the recipe.
        reader: What needs the features, as the subject of the error message.

    Raises:
        GanzooError: It does not expose them.
    """
    for name in ("features", "feature_width", "head"):
        if not hasattr(network, name):
            kind = type(network)
            raise GanzooError(
                f"{reader} shares the {role}'s layers, but {kind.__module__}.{kind.__name__} has no '{name}'.",
                f"Use the {role} 'mlp' or 'dcgan', or another with features(), feature_width and head.",
            )
    return cast("Trunk", network)
