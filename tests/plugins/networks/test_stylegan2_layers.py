"""Equalised learning rates and modulated convolutions, against one convolution for each image."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ganzoo_plugins.networks.stylegan2 import Activation, ModulatedConv2d, equalised


def one_by_one(conv: ModulatedConv2d, maps: Tensor, w: Tensor) -> Tensor:
    """The paper's two equations, image by image."""
    results = []
    for image, code in zip(maps, w, strict=True):
        style = conv.affine.weight @ code + conv.affine.bias
        weight = style[None, :, None, None] * conv.weight
        if conv.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        results.append(conv2d(image[None], weight, padding=conv.padding))
    return torch.cat(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_one_convolution_for_all_is_one_for_each(kernel: int, demodulate: bool) -> None:
    conv = ModulatedConv2d(5, 7, 6, kernel=kernel, demodulate=demodulate).double()
    maps, w = torch.randn(4, 5, 6, 8, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    assert torch.allclose(conv(maps, w), one_by_one(conv, maps, w), atol=1e-10)


def test_doubling_is_a_convolution_over_zeros_in_between_then_the_blur() -> None:
    conv = ModulatedConv2d(3, 4, 6, up=True)
    maps, w = torch.randn(2, 3, 5, 7), torch.randn(2, 6)
    sparse = torch.zeros(2, 3, 9, 13)
    sparse[..., ::2, ::2] = maps
    flipped = copy.deepcopy(conv)
    flipped.blur, flipped.padding = None, 2
    with torch.no_grad():  # a transposed convolution turns the kernel round
        flipped.parametrizations.weight.original.copy_(conv.parametrizations.weight.original.flip(2, 3))
    assert conv(maps, w).shape == (2, 4, 10, 14)
    assert torch.allclose(conv(maps, w), conv.blur(one_by_one(flipped, sparse, w)), atol=1e-4)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_demodulated_maps_have_unit_variance_whatever_the_style(size: float) -> None:
    conv = ModulatedConv2d(32, 16, 8)
    out = conv(torch.randn(64, 32, 12, 12), size * torch.randn(64, 8))[..., 1:-1, 1:-1]
    assert out.var(dim=(0, 2, 3)).sub(1).abs().max() < 0.05
    plain = ModulatedConv2d(32, 16, 8, demodulate=False)
    assert plain(torch.randn(64, 32, 12, 12), 30 * torch.randn(64, 8)).var() > 100


@pytest.mark.parametrize("up", [True, False])
def test_second_derivatives_agree_with_finite_differences(up: bool) -> None:
    conv = ModulatedConv2d(2, 3, 2, up=up).double()
    maps = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(conv, (maps, w))


def test_weights_are_kept_at_unit_size_and_used_at_he_s() -> None:
    layer = equalised(nn.Conv2d(20, 300, 3))
    stored = layer.parametrizations.weight.original
    assert stored.std().item() == pytest.approx(1, rel=0.02)
    assert torch.allclose(layer.weight, stored / math.sqrt(20 * 9))
    assert (layer.bias == 0).all()
    assert set(dict(layer.named_parameters())) == {"bias", "parametrizations.weight.original"}


def test_an_adam_step_is_as_large_as_the_rate_and_the_fan_in_say() -> None:
    layer = equalised(nn.Linear(16, 4), rate=0.01)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    assert before[0].std().item() == pytest.approx(1 / 4, rel=0.3), "the rate does not change what is computed"
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    layer(torch.ones(1, 16)).sum().backward()
    optimizer.step()  # the first step of Adam moves each stored number by lr
    assert torch.allclose(before[0] - layer.weight, torch.full((4, 16), 0.5 * 0.01 / 4), rtol=1e-3)
    assert torch.allclose(before[1] - layer.bias, torch.full((4,), 0.5 * 0.01), rtol=1e-3)


def test_the_activation_keeps_about_the_size() -> None:
    assert torch.equal(Activation()(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -0.2]) * math.sqrt(2))
    assert Activation()(torch.randn(100_000)).square().mean().item() == pytest.approx(1.04, rel=0.02)
