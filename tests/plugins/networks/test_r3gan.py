"""R3GAN's networks: the identity at first, grouped, mirrored, and without normalisation."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn.functional import leaky_relu

from ganzoo import GaussianPrior, Spec
from ganzoo.layers import Blur, upsample2x
from ganzoo_plugins.networks.r3gan import Discriminator, Generator, Residual


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


def test_the_generator_is_its_basis_resampled_at_first() -> None:
    generator, z = Generator(spec(1, 28, 28), width=4), torch.randn(3, 10)
    maps = (z @ generator.code.weight.T)[:, :, None, None] * generator.basis
    *narrower, colours = [m for m in generator.layers if isinstance(m, nn.Conv2d)]
    for layer, size in zip(narrower, (7, 14, 28), strict=True):
        maps = upsample2x(layer(maps))[..., :size, :size]
    assert torch.allclose(generator(z), colours(maps).tanh(), atol=1e-5)


def test_the_discriminator_is_linear_at_first() -> None:
    discriminator = Discriminator(spec(1, 28, 28), width=4)
    images = torch.randn(2, 3, 1, 28, 28)
    both = discriminator(images[0] + images[1])
    assert torch.allclose(both, discriminator(images[0]) + discriminator(images[1]), atol=1e-5)


def test_a_trained_block_is_the_equation() -> None:
    block, x = Residual(4, 2, blocks=1), torch.randn(2, 4, 6, 6)
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    one, _, two, _, three = block.layers
    inner = leaky_relu(torch.einsum("oi,nihw->nohw", one.weight[..., 0, 0], x) + one.bias[:, None, None], 0.2)
    # Groups of two maps, each with a convolution of its own.
    grouped = [
        nn.functional.conv2d(inner[:, g : g + 2], two.weight[g : g + 2], two.bias[g : g + 2], padding=1)
        for g in (0, 2, 4, 6)
    ]
    middle = leaky_relu(torch.cat(grouped, dim=1), 0.2)
    expected = x + torch.einsum("oi,nihw->nohw", three.weight[..., 0, 0], middle)
    assert torch.allclose(block(x), expected, atol=1e-4)


def test_weights_are_scaled_by_the_number_of_blocks() -> None:
    for blocks in (1, 16):
        one, _, two, _, three = Residual(64, 16, blocks).layers
        he = math.sqrt(2 / 1.04) / blocks**0.25
        assert one.weight.std().item() == pytest.approx(he / math.sqrt(64), rel=0.05)
        assert two.weight.std().item() == pytest.approx(he / math.sqrt(16 * 9), rel=0.05)
        assert (three.weight == 0).all()


def test_a_network_counts_the_blocks_of_all_its_resolutions() -> None:
    for player in (Generator(spec(1, 28, 28), width=16), Discriminator(spec(1, 28, 28), width=16)):
        blocks = [module.layers[0] for module in player.modules() if isinstance(module, Residual)]
        assert len(blocks) == 8
        for first in blocks:
            he = math.sqrt(2 / 1.04 / first.in_channels) / 8**0.25
            assert first.weight.std().item() == pytest.approx(he, rel=0.15)


@pytest.mark.parametrize(("channels", "groups"), [(768, 96), (16, 2), (4, 1), (28, 7)])
def test_groups_hold_sixteen_maps_or_what_divides(channels: int, groups: int) -> None:
    with torch.device("meta"):
        assert Residual(channels, 16, blocks=1).layers[2].groups == groups


def test_players_mirror_one_another() -> None:
    players = Generator(spec(1, 28, 28), width=4), Discriminator(spec(1, 28, 28), width=4)
    blocks = [[m.layers[0].in_channels for m in player.layers if isinstance(m, Residual)] for player in players]
    assert blocks[0] == blocks[1][::-1] == [32, 32, 16, 16, 8, 8, 4, 4]


def test_the_slope_of_a_slope_agrees_with_finite_differences() -> None:
    block = Residual(2, 2, blocks=1).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter)
    down = nn.Sequential(block, Blur(padding=1, step=2)).double()
    maps = torch.randn(1, 2, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(down, (maps,))
    assert torch.autograd.gradgradcheck(upsample2x, (maps,))
