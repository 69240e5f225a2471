"""Residual blocks and self-attention, against computations in other words."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo.layers import ResidualDown, ResidualUp, SelfAttention, xavier_conv2d


def silence(layer: nn.Conv2d) -> None:
    """No weights, no bias: the branch that ends in it adds nothing."""
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def test_the_up_block_s_shortcut_repeats_each_place_four_times() -> None:
    block, maps = ResidualUp(3, 2, (8, 10)).eval(), torch.randn(2, 3, 4, 5)
    silence(block.residual[-1])
    out = block(maps)
    weight, bias = block.shortcut[0].weight[:, :, 0, 0], block.shortcut[0].bias
    for row in range(8):
        for column in range(10):
            wanted = maps[:, :, row // 2, column // 2] @ weight.T + bias
            torch.testing.assert_close(out[:, :, row, column], wanted)


def test_the_down_block_s_shortcut_averages_four_places() -> None:
    block, maps = ResidualDown(3, 2), torch.randn(2, 3, 4, 6)
    silence(block.out_of)
    out = block(maps)
    weight, bias = block.shortcut.weight[:, :, 0, 0], block.shortcut.bias
    for row in range(2):
        for column in range(3):
            four = [maps[:, :, 2 * row + i, 2 * column + j] for i in (0, 1) for j in (0, 1)]
            torch.testing.assert_close(out[:, :, row, column], sum(four) / 4 @ weight.T + bias)


def test_a_down_block_that_changes_nothing_has_an_identity_for_a_shortcut() -> None:
    block, maps = ResidualDown(3, 3, halve=False), torch.randn(2, 3, 4, 4)
    silence(block.out_of)
    assert torch.equal(block(maps), maps)


@pytest.mark.parametrize("first", [True, False])
def test_negative_values_of_an_image_count_and_those_of_later_maps_do_not(first: bool) -> None:
    block, maps = ResidualDown(2, 4, halve=False, first=first), -torch.rand(1, 2, 4, 4)
    silence(block.shortcut)
    with torch.no_grad():
        assert torch.equal(block(maps), block(torch.zeros_like(maps))) is not first


def test_the_up_block_normalises_by_label() -> None:
    block = ResidualUp(2, 3, (8, 8), classes=2).eval()
    with torch.no_grad():
        block.residual[0].scale[1] = 0
        block.residual[0].shift[1] = 0
    maps = torch.randn(2, 2, 4, 4)
    other = torch.cat([maps[:1], torch.randn(1, 2, 4, 4)])
    silence(block.shortcut[0])
    second = torch.tensor([0, 1])
    # What is scaled by zero is forgotten: the second image no longer matters, and would under the first label.
    assert torch.allclose(block(maps, second), block(other, second))
    assert not torch.allclose(block(maps, 1 - second)[1], block(other, 1 - second)[1])


def test_convolutions_start_within_glorot_s_bounds() -> None:
    layer = xavier_conv2d(8, 24, gain=2.0)
    bound = 2 * (6 / (9 * 8 + 9 * 24)) ** 0.5
    assert bound * 0.98 < layer.weight.abs().max().item() <= bound
    assert (layer.bias == 0).all()


def attended(layer: SelfAttention, maps: Tensor) -> Tensor:
    """The equation, one image and one place at a time."""

    def at(convolved: nn.Conv2d, x: Tensor) -> Tensor:
        return convolved.weight[:, :, 0, 0] @ x + convolved.bias

    out = torch.empty_like(maps)
    _, _, height, width = maps.shape
    for image, result in zip(maps, out, strict=True):
        keys, values = [], []
        for row in range(0, height - 1, 2):
            for column in range(0, width - 1, 2):
                four = [image[:, row + i, column + j] for i in (0, 1) for j in (0, 1)]
                keys.append(torch.stack([at(layer.keys, x) for x in four]).max(0).values)
                values.append(torch.stack([at(layer.values, x) for x in four]).max(0).values)
        for row in range(height):
            for column in range(width):
                x = image[:, row, column]
                scores = torch.stack([key @ at(layer.queries, x) for key in keys])
                shares = scores.exp() / scores.exp().sum()
                seen = sum(share * value for share, value in zip(shares, values, strict=True))
                result[:, row, column] = layer.gamma * at(layer.out, seen) + x
    return out


@pytest.mark.parametrize("size", [(4, 4), (5, 2)])
def test_self_attention_is_the_equation(size: tuple[int, int]) -> None:
    layer, maps = SelfAttention(16), torch.randn(2, 16, *size)
    with torch.no_grad():
        layer.gamma.fill_(0.7)
        for convolved in (layer.keys, layer.values, layer.queries, layer.out):
            nn.init.normal_(convolved.bias)
        torch.testing.assert_close(layer(maps), attended(layer, maps), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("channels", "dimensions"), [(8, 8), (16, 8), (64, 8), (128, 16)])
def test_keys_have_an_eighth_of_the_channels_and_at_least_eight_dimensions(channels: int, dimensions: int) -> None:
    layer = SelfAttention(channels)
    assert (layer.keys.out_channels, layer.queries.out_channels) == (dimensions, dimensions)


def test_self_attention_starts_as_nothing_and_learns_to_open() -> None:
    layer, maps = SelfAttention(8), torch.randn(2, 8, 4, 4)
    out = layer(maps)
    assert torch.equal(out, maps)
    out.square().sum().backward()
    assert layer.gamma.grad != 0
    assert (layer.keys.weight.grad == 0).all()


def test_self_attention_can_be_differentiated_twice() -> None:
    layer = SelfAttention(8).double()
    nn.init.ones_(layer.gamma)
    maps = torch.randn(1, 8, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(layer, maps)
