"""StyleGAN2: convolutions modulated by a style, and path length regularization.

Karras, Laine, Aittala, Hellsten, Lehtinen & Aila 2020, "Analyzing and Improving the Image Quality of StyleGAN",
arXiv:1912.04958. G maps the code to w = f(z / √mean(z²)), and w modulates every convolution on the way from a learned
constant to the image. A style s, an affine function of w, scales the inputs of a convolution; demodulation restores the
variance of each output map to 1, assuming inputs of variance 1:

    w'_ijk = s_i w_ijk        w''_ijk = w'_ijk / √(Σ_ik w'_ijk² + ε)        (i inputs, j outputs, k the kernel)

Each 3x3 convolution adds its own noise to every pixel, also during evaluation, with a learned strength that starts at
zero; the 1x1 convolutions to the image neither demodulate nor add noise. Every resolution adds to the image (skip
connections):

    image_0 = rgb_0(x_0),        image_i = double(image_{i-1}) + rgb_i(x_i)

D halves the image in residual blocks, (main(x) + skip(x)) / √2, and gets the minibatch standard deviation before its
last convolution. All layers have equalised learning rates (Karras et al. 2018, "Progressive Growing of GANs",
arXiv:1710.10196): weights from N(0, 1) are multiplied by 1 / √fan_in in each call, so that Adam's steps have the same
relative size in every layer. The mapping network f learns at a hundredth of the others' rate. The loss is
non-saturating, with a lazy R1 (module r1).

Path length regularization makes a step of fixed size in w change the image by a fixed amount, wherever it is taken.
With J_l = ∂g/∂w_l for each layer's own copy w_l of w, and y white noise of an image's shape, scaled by 1 / √pixels:

    E_{w, y}[(√(mean_l ‖J_lᵀ y‖²) - a)²],        a a moving average of the root (decay 0.99, from zero)

J_lᵀ y is a gradient of g(w)·y, so the Jacobian is never computed. For a generator without a mapping network, w is the
code itself, and there are no layers to average over. Truncation, w̄ + ψ(w - w̄), is the option ``--truncation`` of
``ganzoo sample``; scores are of untruncated samples, as in the paper.

Differences from the paper:

- Style mixing is not implemented.
- Halving rounds up (28x28 is 28, 14, 7, 4).
- G ends in a tanh; the authors' has no activation there.
- The image is upsampled bilinearly with edge pixels repeated; the authors pad with zeros.
- The path length's gradient treats a as a constant; in the authors' code a hundredth of it also flows through a. Their
  weight is 2 and ``every_steps`` 4, on half of the batch.
- An embedding of the label is appended to z at the input of f, as in StyleGAN2-ADA (Karras et al. 2020,
  arXiv:2006.06676), but as wide as z and without a bias; theirs is as wide as w and has one.
- D adds a projection on an embedding of the label to an unconditional logit (Miyato & Koyama 2018); StyleGAN2-ADA's
  logit is the projection alone, on the output of a mapping network for labels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Annotated, Any, TypeVar, cast

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.utils.parametrize import register_parametrization

from ganzoo import (
    EverySteps,
    Register,
    Regularizer,
    RegularizerContext,
    Spec,
    Weight,
    beside,
    functional,
    hookimpl,
)
from ganzoo.layers import (
    Blur,
    Conditioning,
    Crop,
    Depth,
    Head,
    MinibatchStd,
    PadToEven,
    Trunk,
    Width,
    channel_pyramid,
    label_inputs,
    pyramid_sizes,
    upsample2x,
)

PAPER = "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958"
Layer = TypeVar("Layer", bound=nn.Module)
TINY = 1e-8


class Scaled(nn.Module):
    """A parametrization: the stored tensor times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, stored: Tensor) -> Tensor:
        return stored * self.factor


def equalised(layer: Layer, rate: float = 1.0) -> Layer:
    """Give a layer an equalised learning rate, and redraw its weights.

    Args:
        layer: Has a weight (outputs, ...), or (classes, outputs) if it is an embedding, and may have a bias, which then
            starts at zero. The weight is scaled by 1 / √(number of elements in a row).
        rate: Factor of the learning rate; it does not change what the layer initially computes.
    """
    weight, bias = layer.weight, getattr(layer, "bias", None)
    assert isinstance(weight, Tensor)
    nn.init.normal_(weight, std=1 / rate)
    register_parametrization(layer, "weight", Scaled(rate / math.sqrt(weight[0].numel())))
    if bias is not None:
        nn.init.zeros_(bias)
        if rate != 1:
            register_parametrization(layer, "bias", Scaled(rate))
    return layer


class Activation(nn.LeakyReLU):
    """LeakyReLU(0.2) times √2, which keeps the magnitude of activations about the same."""

    def __init__(self) -> None:
        super().__init__(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * math.sqrt(2)


class ModulatedConv2d(nn.Module):
    """A convolution whose weights are scaled by each image's style.

    Scaling the inputs and the outputs is equivalent to scaling the weights, and lets one convolution process the whole
    batch, which is much faster than a grouped convolution with a group for each image.

    Args:
        inputs: Input maps.
        outputs: Output maps.
        style: Width of w.
        kernel: Side of the kernel, odd.
        up: Double the resolution: a transposed convolution, then a blur.
        demodulate: Bring each output map back to unit variance.
    """

    def __init__(
        self, inputs: int, outputs: int, style: int, *, kernel: int = 3, up: bool = False, demodulate: bool = True
    ) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, kernel, kernel))
        equalised(self)
        self.affine = equalised(nn.Linear(style, inputs))
        nn.init.ones_(self.affine.bias)
        self.padding = kernel // 2
        self.blur = Blur(padding=1, gain=4.0) if up else None
        self.demodulate = demodulate

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """From maps (n, inputs, h, w) and codes w (n, style) to (n, outputs, h, w), or twice that size."""
        weight, style = self.weight, cast("Tensor", self.affine(w))
        out = self.convolve(maps * style[:, :, None, None], weight)
        if not self.demodulate:
            return out
        variance = style.square() @ weight.square().sum((2, 3)).T
        return out * (variance + TINY).rsqrt().to(out.dtype)[:, :, None, None]

    def convolve(self, maps: Tensor, weight: Tensor) -> Tensor:
        if self.blur is None:
            return conv2d(maps, weight, padding=self.padding)
        blurred: Tensor = self.blur(conv_transpose2d(maps, weight.transpose(0, 1), stride=2))
        return blurred


def unit(x: Tensor) -> Tensor:
    """Vectors (n, d) scaled to a mean square of 1."""
    return x * (x.square().mean(1, keepdim=True) + TINY).rsqrt()


class Mapping(nn.Module):
    """From codes (n, latent) to w (n, style), through ``depth`` layers that learn at a hundredth of the rate."""

    def __init__(self, spec: Spec, style: int, depth: int) -> None:
        super().__init__()
        self.embedding = equalised(nn.Embedding(spec.classes, spec.latent)) if spec.classes else None
        widths = [spec.latent * (2 if spec.classes else 1), *[style] * depth]
        pairs = pairwise(widths)
        self.layers = nn.Sequential(
            *[layer for pair in pairs for layer in (equalised(nn.Linear(*pair), rate=0.01), Activation())]
        )

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes w (n, style) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        code = unit(z)
        if self.embedding is not None:
            assert label is not None, "a network built for classes needs labels"
            code = torch.cat([code, unit(self.embedding(label))], dim=1)
        return cast("Tensor", self.layers(code))


class StyledConv(nn.Module):
    """A modulated 3x3 convolution, noise, bias and activation; torch draws the noise, so a seed reproduces it."""

    def __init__(
        self, inputs: int, outputs: int, style: int, size: tuple[int, int], *, noise: bool = True, up: bool = False
    ) -> None:
        super().__init__()
        self.conv = ModulatedConv2d(inputs, outputs, style, up=up)
        self.crop = Crop(size)
        self.noise_strength = nn.Parameter(torch.zeros(())) if noise else None
        self.bias = nn.Parameter(torch.zeros(outputs, 1, 1))
        self.activation = Activation()

    def forward(self, maps: Tensor, w: Tensor) -> Tensor:
        """From (n, inputs, h, w) to (n, outputs, *size): the same size, or twice that, or one less than twice."""
        maps = self.crop(self.conv(maps, w))
        if self.noise_strength is not None:
            maps = maps + torch.randn_like(maps[:, :1]) * self.noise_strength
        return cast("Tensor", self.activation(maps + self.bias.to(maps.dtype)))


class Resolution(nn.Module):
    """One resolution of G: its convolutions, and what they add to the image. The first does not upsample."""

    def __init__(
        self, inputs: int, outputs: int, style: int, colours: int, size: tuple[int, int], *, noise: bool, first: bool
    ) -> None:
        super().__init__()
        convs = [] if first else [StyledConv(inputs, outputs, style, size, noise=noise, up=True)]
        self.convs = nn.ModuleList([*convs, StyledConv(outputs, outputs, style, size, noise=noise)])
        self.crop = Crop(size)
        self.to_image = ModulatedConv2d(outputs, colours, style, kernel=1, demodulate=False)
        self.bias = nn.Parameter(torch.zeros(colours, 1, 1))

    def forward(self, maps: Tensor, image: Tensor | None, ws: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Maps and the image of this resolution, from those of the coarser one and the w of each convolution."""
        for conv, w in zip(self.convs, ws, strict=False):
            maps = conv(maps, w)
        added = self.to_image(maps, ws[-1]).float() + self.bias
        return maps, added if image is None else self.crop(upsample2x(image)) + added


class Synthesis(nn.Module):
    """From w (n, style) to images (n, c, h, w) in [-1, 1].

    Attributes:
        layers: Number of layers that can each take a w of their own: the 3x3 convolutions, and the last convolution to
            the image. Every other convolution to the image shares the w of the 3x3 convolution that follows it.
    """

    def __init__(self, spec: Spec, width: int, widest: int, style: int, *, noise: bool) -> None:
        super().__init__()
        channels, sizes = channel_pyramid(spec, width, widest), pyramid_sizes(spec)
        self.constant = nn.Parameter(torch.randn(channels[0], *sizes[0]))
        levels = zip(channels[:1] + channels[:-1], channels, sizes, strict=True)
        self.resolutions = nn.ModuleList(
            [
                Resolution(inputs, outputs, style, spec.channels, size, noise=noise, first=not level)
                for level, (inputs, outputs, size) in enumerate(levels)
            ]
        )
        self.layers = 2 * len(sizes)

    def forward(self, w: Tensor) -> Tensor:
        """Images of the codes w (n, style), or (n, layers, style) with one for each layer, with fresh noise."""
        ws = [w] * self.layers if w.ndim == 2 else w.unbind(1)
        maps, image = self.constant.expand(w.shape[0], -1, -1, -1), None
        for level, resolution in enumerate(self.resolutions):
            maps, image = resolution(maps, image, ws[max(2 * level - 1, 0) : 2 * level + 2])
        assert image is not None
        return torch.tanh(image)


class Generator(nn.Module):
    """From codes (n, latent) to images (n, c, h, w) in [-1, 1].

    Args:
        spec: Image, latent and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Largest number of maps.
        style: Width of w, and of the mapping network (512 in the paper).
        mapping_layers: Layers of the mapping network.
        noise: Whether every 3x3 convolution adds its own noise.

    Attributes:
        mapping: From codes and labels to w (n, style).
        synthesis: From w to images.
    """

    def __init__(
        self,
        spec: Spec,
        *,
        width: Width = 32,
        widest: Width = 512,
        style: Width = 128,
        mapping_layers: Depth = 8,
        noise: bool = True,
    ) -> None:
        super().__init__()
        self.mapping = Mapping(spec, style, mapping_layers)
        self.synthesis = Synthesis(spec, width, widest, style, noise=noise)

    def forward(self, z: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and, in a conditional recipe, labels (n,)."""
        return cast("Tensor", self.synthesis(self.mapping(z, label)))


class Halving(nn.Module):
    """A residual block of D, from (n, inputs, h, w) to (n, outputs, h / 2, w / 2), rounded up."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.pad = PadToEven()
        self.main = nn.Sequential(
            equalised(nn.Conv2d(inputs, inputs, 3, padding=1)),
            Activation(),
            Blur(padding=2),
            equalised(nn.Conv2d(inputs, outputs, 3, stride=2)),
            Activation(),
        )
        self.skip = nn.Sequential(Blur(padding=1, step=2), equalised(nn.Conv2d(inputs, outputs, 1, bias=False)))

    def forward(self, maps: Tensor) -> Tensor:
        """(main(x) + skip(x)) / √2."""
        maps = self.pad(maps)
        return cast("Tensor", (self.main(maps) + self.skip(maps)) / math.sqrt(2))


class Discriminator(Trunk):
    """From images (n, c, h, w) to logits (n,), via features that other heads can share.

    Args:
        spec: Image and class sizes.
        width: Maps at the image's resolution; each halving doubles them.
        widest: Largest number of maps.
        conditioning: How labels enter the network in a conditional recipe.
    """

    def __init__(
        self, spec: Spec, *, width: Width = 32, widest: Width = 512, conditioning: Conditioning = "projection"
    ) -> None:
        super().__init__()
        self.label_inputs = label_inputs(spec, conditioning)
        channels, (height, columns) = channel_pyramid(spec, width, widest), pyramid_sizes(spec)[0]
        wide = channels[0]
        self.layers = nn.Sequential(
            equalised(nn.Conv2d(spec.channels + self.label_inputs, channels[-1], 1)),
            Activation(),
            *[Halving(*pair) for pair in zip(channels[:0:-1], channels[-2::-1], strict=True)],
            MinibatchStd(),
            equalised(nn.Conv2d(wide + 1, wide, 3, padding=1)),
            Activation(),
            nn.Flatten(),
            equalised(nn.Linear(wide * height * columns, wide)),
            Activation(),
        )
        self.feature_width = wide
        self.head = Head(wide, spec.classes, conditioning)
        equalised(self.head.linear)
        if self.head.embedding is not None:
            equalised(self.head.embedding)


def path_lengths(synthesis: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """‖Jᵀ y‖ for one random y per image, differentiable in the weights and in w.

    Args:
        synthesis: From w to images.
        w: Codes (n, d), or (n, layers, d), one for each layer.

    Returns:
        (n,): the root mean square over layers.
    """

    def projected(offset: Tensor) -> Tensor:
        images = synthesis(w + offset)
        noise = torch.randn_like(images) / math.sqrt(images.shape[-2] * images.shape[-1])
        return (images * noise).flatten(1).sum(1)

    # The gradient at a zero offset is the one at w, and w keeps its graph, so that the mapping network learns too.
    lengths = functional.norm(functional.input_gradient(projected, torch.zeros_like(w)))
    return lengths / math.sqrt(w.shape[1]) if w.ndim == 3 else lengths


class PathLength(Regularizer):
    """Penalises path lengths that differ from their moving average.

    Args:
        weight: Factor of the penalty.
        every_steps: Steps between applications.
        decay: Weight of the old average in each application.
    """

    side = "generator"
    average: Tensor

    def __init__(
        self, *, weight: Weight = 2.0, every_steps: EverySteps = 1, decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(‖Jᵀ y‖ - a)²], after updating a with these lengths."""
        generator: Any = context.networks["generator"]
        if hasattr(generator, "mapping") and hasattr(generator, "synthesis"):
            w = generator.mapping(context.batch.z, *context.condition)
            if hasattr(generator.synthesis, "layers"):
                w = w[:, None].expand(-1, generator.synthesis.layers, -1)
            lengths = path_lengths(generator.synthesis, w)
        else:
            lengths = path_lengths(context.generate, context.batch.z)
        self.average.lerp_(lengths.detach().mean().to(self.average), 1 - self.decay)
        return (lengths - self.average).square().mean()


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    register("stylegan2", Generator, summary="Modulated convolutions from a learned constant, noise", paper=PAPER)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    register("stylegan2", Discriminator, summary="Residual blocks with equalised learning rates", paper=PAPER)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "path-length",
        PathLength,
        summary="A step in w changes the image by the same amount everywhere",
        paper=PAPER,
        aliases=("ppl", "stylegan2"),
    )


register_recipes = beside(__file__, "stylegan2-mnist", "stylegan2-mnist-gpu")
