"""The relativistic pairing loss against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from torch.autograd import gradcheck

from ganzoo_plugins.networks.r3gan import RelativisticPairing

LOSS = RelativisticPairing()


def test_equal_logits_cost_log_2() -> None:
    logits = 5 * torch.randn(8)
    assert LOSS.discriminator(logits, logits).item() == pytest.approx(math.log(2))
    assert LOSS.generator(logits, logits).item() == pytest.approx(math.log(2))


def test_each_fake_is_paired_with_its_own_real_image() -> None:
    real, fake = torch.tensor([1.0, 5.0]), torch.tensor([0.0, 7.0])
    # -log σ of the differences 1 and -2, by hand.
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(2))) / 2
    assert LOSS.discriminator(real, fake).item() == pytest.approx(expected)
    assert LOSS.discriminator(real, fake.flip(0)).item() != pytest.approx(expected)


def test_the_players_exchange_roles() -> None:
    real, fake = torch.randn(8), torch.randn(8)
    assert torch.equal(LOSS.generator(real, fake), LOSS.discriminator(fake, real))


def test_only_differences_matter() -> None:
    real, fake = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    assert torch.allclose(LOSS.discriminator(real + 3, fake + 3), LOSS.discriminator(real, fake))


def test_gradients_agree_with_finite_differences() -> None:
    pair = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert gradcheck(LOSS.discriminator, pair)
    assert gradcheck(LOSS.generator, pair)


@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_logits_stay_finite(size: float) -> None:
    real = torch.full((4,), size, requires_grad=True)
    loss = LOSS.discriminator(real, -real) + LOSS.generator(real, -real)
    loss.backward()
    assert loss.item() == pytest.approx(2e4)
    assert torch.isfinite(real.grad).all()


def test_in_a_game_the_generator_is_given_real_logits(play) -> None:
    losses, networks, batch = play(LOSS)
    real, fake = (networks["discriminator"](x) for x in (batch.real, networks["generator"](batch.z)))
    assert torch.allclose(losses["generator"]["loss"], LOSS.generator(real, fake))
