"""StyleGAN2's layers: equalised learning rates, and convolutions whose weights follow a style.

Karras et al. 2018, "Progressive Growing of GANs", arXiv:1710.10196: a layer keeps weights from N(0, 1) and multiplies
them by 1 / √fan_in whenever it is called, so that Adam's steps are as large, in proportion, in every layer.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2), arXiv:1912.04958. A style s, an
affine function of w, scales the inputs of a convolution; demodulation gives each output map a variance of 1 again,
expected of inputs of variance 1:

    w'_ijk = s_i w_ijk        w''_ijk = w'_ijk / √(Σ_ik w'_ijk² + ε)        (i inputs, j outputs, k the kernel)
"""

from __future__ import annotations

import math
from typing import TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, conv_transpose2d
from torch.nn.utils.parametrize import register_parametrization

from ganzoo_plugins.resampling import Blur

Layer = TypeVar("Layer", bound=nn.Module)
TINY = 1e-8


class Scaled(nn.Module):
    """A parametrization: the stored tensor times a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, stored: Tensor) -> Tensor:
        """Any shape."""
        return stored * self.factor


def equalised(layer: Layer, rate: float = 1.0) -> Layer:
    """The layer with an equalised learning rate, drawn anew.

    Args:
        layer: With a weight (outputs, ...), and a bias or none; biases start at zero.
        rate: Factor of the learning rate; what the layer computes at first does not depend on it.
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
    """LeakyReLU(0.2) times √2, which keeps the size of what passes about the same."""

    def __init__(self) -> None:
        super().__init__(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape."""
        return super().forward(x) * math.sqrt(2)


class ModulatedConv2d(nn.Module):
    """A convolution whose weights are scaled by a style, for each image its own.

    Scaling the inputs and the outputs is the same as scaling the weights, and lets one convolution serve the batch,
    which is much faster than a grouped convolution with a group for each image.

    Args:
        inputs: Maps that come in.
        outputs: Maps that go out.
        style: Width of w.
        kernel: Side of the kernel, odd.
        up: Double the image: a transposed convolution, then a blur.
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
        """From (n, inputs, h, w) and styles' codes (n, style) to (n, outputs, h, w), or twice that size."""
        weight, style = self.weight, cast("Tensor", self.affine(w))
        out = self.convolve(maps * style[:, :, None, None], weight)
        if not self.demodulate:
            return out
        variance = style.square() @ weight.square().sum((2, 3)).T
        return out * (variance + TINY).rsqrt().to(out.dtype)[:, :, None, None]

    def convolve(self, maps: Tensor, weight: Tensor) -> Tensor:
        """The convolution itself, the same for all images."""
        if self.blur is None:
            return conv2d(maps, weight, padding=self.padding)
        blurred: Tensor = self.blur(conv_transpose2d(maps, weight.transpose(0, 1), stride=2))
        return blurred
