"""Softmax GAN's losses against an explicit softmax and its cross-entropies."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from ganzoo_plugins.losses.softmax_gan import Softmax

LOSS = Softmax()


def logits(n: int = 6) -> torch.Tensor:
    return 3 * torch.randn(n, dtype=torch.float64, requires_grad=True)


def test_cross_entropy_with_each_player_s_target() -> None:
    real, fake = logits(), logits()
    everything = torch.cat([real, fake])[None]
    on_real = torch.cat([torch.full((6,), 1 / 6), torch.zeros(6)]).double()[None]
    on_all = torch.full((1, 12), 1 / 12, dtype=torch.float64)
    assert torch.allclose(LOSS.discriminator(real, fake), cross_entropy(everything, on_real) - math.log(12))
    assert torch.allclose(LOSS.generator(real, fake), cross_entropy(everything, on_all) - math.log(12))


def test_slopes_are_shares_less_targets() -> None:
    real, fake = torch.tensor([0.0, math.log(3)], requires_grad=True), torch.tensor([math.log(4), 0.0])
    fake.requires_grad_()
    # Shares are 1/9, 3/9, 4/9 and 1/9, by hand.
    on_real, on_fake = torch.autograd.grad(LOSS.discriminator(real, fake), (real, fake))
    assert on_real.tolist() == pytest.approx([1 / 9 - 1 / 2, 3 / 9 - 1 / 2])
    assert on_fake.tolist() == pytest.approx([4 / 9, 1 / 9])
    (on_fake,) = torch.autograd.grad(LOSS.generator(real, fake), fake)
    assert on_fake.tolist() == pytest.approx([4 / 9 - 1 / 4, 1 / 9 - 1 / 4])


def test_the_generator_s_fixed_point_is_equality() -> None:
    level = torch.full((8,), 2.5, requires_grad=True)
    loss = LOSS.generator(level.detach(), level)
    loss.backward()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    assert level.grad.abs().max() < 1e-7
    assert LOSS.generator(logits(), logits()) > 0


def test_a_perfect_discriminator_gains_log_2_and_no_more() -> None:
    """All of the probability on the n real images: log(1/n) against log(1/2n) for an undecided one."""
    assert LOSS.discriminator(torch.full((8,), 50.0), torch.zeros(8)).item() == pytest.approx(-math.log(2))
    assert LOSS.discriminator(torch.zeros(8), torch.zeros(8)).item() == pytest.approx(0, abs=1e-6)
