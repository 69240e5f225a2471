"""The original GAN's losses against the formulas of the paper."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.losses.vanilla import Minimax, NonSaturating
from ganzoo_plugins.networks.mlp import Discriminator, Generator

SPEC = Spec((1, 28, 28), GaussianPrior(dim=100))


def logits(n: int = 16) -> torch.Tensor:
    return torch.randn(n, dtype=torch.float64, requires_grad=True)


def test_minimax_is_the_value_function_for_moderate_logits() -> None:
    real, fake = 3 * logits(), 3 * logits()
    value = real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()
    loss = Minimax()
    assert torch.allclose(loss.discriminator(real, fake), -value)
    assert torch.allclose(loss.generator(None, fake), (1 - fake.sigmoid()).log().mean())


def test_an_undecided_discriminator_costs_log_4() -> None:
    nothing = torch.zeros(8)
    assert Minimax().discriminator(nothing, nothing).item() == pytest.approx(math.log(4))
    assert Minimax().generator(None, nothing).item() == pytest.approx(-math.log(2))
    assert NonSaturating().generator(None, nothing).item() == pytest.approx(math.log(2))


def test_non_saturating_is_binary_cross_entropy_with_the_other_label() -> None:
    real, fake = logits(), logits()
    ones, zeros = torch.ones_like(real), torch.zeros_like(real)
    bce = binary_cross_entropy_with_logits
    loss = NonSaturating()
    assert torch.allclose(loss.discriminator(real, fake), bce(real, ones) + bce(fake, zeros))
    assert torch.allclose(loss.generator(None, fake), bce(fake, ones))


def test_the_two_generators_push_hardest_at_opposite_ends() -> None:
    fake = torch.tensor([-8.0, 0.0, 8.0], requires_grad=True)
    for loss, slopes in (
        (Minimax(), (-0.000335, -0.5, -0.999665)),
        (NonSaturating(), (-0.999665, -0.5, -0.000335)),
    ):
        (slope,) = torch.autograd.grad(loss.generator(None, fake), fake)
        assert (3 * slope).tolist() == pytest.approx(slopes, abs=1e-6)


def test_a_wrong_discriminator_pays_its_logits() -> None:
    wrong = Minimax().discriminator(torch.full((4,), -1e4), torch.full((4,), 1e4))
    assert wrong.item() == pytest.approx(2e4)
    assert Minimax().discriminator(torch.full((4,), 1e4), torch.full((4,), -1e4)).item() == 0


def widths(network: torch.nn.Module) -> list[tuple[int, int]]:
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return [(m.in_features, m.out_features) for m in linear]


def test_the_networks_have_the_classic_sizes() -> None:
    assert widths(Generator(SPEC)) == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    assert widths(Discriminator(SPEC)) == [(784, 512), (512, 256), (256, 1)]


def test_options_shape_the_networks() -> None:
    assert widths(Generator(SPEC, hidden=[7])) == [(100, 7), (7, 784)]
    assert widths(Discriminator(SPEC, hidden=[])) == [(784, 1)]
    layered = Discriminator(SPEC, hidden=[8, 8], norm="layer", slope=0.5)
    assert sum(isinstance(m, torch.nn.LayerNorm) for m in layered.modules()) == 1
    assert {m.negative_slope for m in layered.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.5}


def test_each_label_is_a_column_of_its_own() -> None:
    spec = Spec((1, 2, 2), GaussianPrior(dim=3), classes=4)
    generator, discriminator = Generator(spec, hidden=[5]), Discriminator(spec, hidden=[5])
    assert widths(generator)[0] == (7, 5)
    assert widths(discriminator)[0] == (8, 5)
    z, images, label = torch.zeros(4, 3), torch.zeros(4, 1, 2, 2), torch.arange(4)
    expected = torch.nn.functional.leaky_relu(generator.trunk[0].weight[:, 3:].T + generator.trunk[0].bias, 0.2)
    assert torch.allclose(generator(z, label), torch.tanh(generator.head(expected)).view(4, 1, 2, 2))
    assert len(discriminator(images, label).unique()) == 4
