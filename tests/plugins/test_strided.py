"""Both are torch's own convolutions, to the last derivative, however they are computed."""

import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d, conv_transpose2d

from ganzoo_plugins.strided import FEW, Doubling, Halving

CHANNELS = [1, 3, FEW, FEW + 1]


def everything(outcome, inputs, layer):
    """An output, its gradients, and the gradients of the gradient at the input."""
    (at_input,) = torch.autograd.grad(outcome.sin().sum(), inputs, create_graph=True)
    wanted = [layer.weight, *([layer.bias] if layer.bias is not None else []), inputs]
    return [outcome, at_input, *torch.autograd.grad(outcome.square().sum() + at_input.square().sum(), wanted)]


def agree(layer, reference, inputs):
    for ours, theirs in zip(
        everything(layer(inputs), inputs, layer), everything(reference(inputs), inputs, layer), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [(6, 8), (7, 5)])
def test_halving_is_the_convolution(channels, bias, size):
    torch.manual_seed(0)
    layer = Halving(channels, 6, bias=bias).double()
    inputs = torch.randn(3, channels, *size, dtype=torch.float64, requires_grad=True)
    agree(layer, lambda maps: conv2d(maps, layer.weight, layer.bias, 2, 1), inputs)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", CHANNELS)
@pytest.mark.parametrize("size", [(3, 4), (7, 5)])
def test_doubling_is_the_transposed_convolution(channels, bias, size):
    torch.manual_seed(0)
    layer = Doubling(6, channels, bias=bias).double()
    inputs = torch.randn(3, 6, *size, dtype=torch.float64, requires_grad=True)
    agree(layer, lambda maps: conv_transpose2d(maps, layer.weight, layer.bias, 2, 1), inputs)


def test_they_are_the_layers_that_others_look_for():
    """Spectral normalisation, initialisation and layouts go by torch's classes."""
    assert isinstance(Halving(1, 2), nn.Conv2d)
    assert isinstance(Doubling(2, 1), nn.ConvTranspose2d)
    assert Halving(1, 2)(torch.zeros(1, 1, 8, 8)).is_contiguous(memory_format=torch.channels_last)
