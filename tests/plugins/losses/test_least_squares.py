"""The least squares loss against the paper's formulas and its theorem."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from ganzoo_plugins.losses.least_squares import LeastSquares


def logits(n: int = 5) -> torch.Tensor:
    return torch.randn(n, dtype=torch.float64, requires_grad=True)


def test_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5]), torch.tensor([-3.0, 1.0])
    # Real: (1 + 0.25) / 2; fake: (9 + 1) / 2; each halved again. Generator: (16 + 0) / 2 / 2.
    assert LeastSquares().discriminator(real, fake).item() == pytest.approx(0.3125 + 2.5)
    assert LeastSquares().generator(None, fake).item() == pytest.approx(4.0)


def test_the_labels_are_free_and_cost_nothing_when_met() -> None:
    loss = LeastSquares(a=-1.0, b=2.0, c=0.5)
    assert loss.discriminator(torch.full((3,), 2.0), torch.full((3,), -1.0)) == 0
    assert loss.generator(None, torch.full((3,), 0.5)) == 0
    assert loss.discriminator(torch.full((3,), -1.0), torch.full((3,), 2.0)).item() == pytest.approx(9.0)


def test_gradients() -> None:
    loss = LeastSquares(a=-1.0, b=1.0, c=0.0)
    assert gradcheck(loss.discriminator, (logits(), logits()))
    fake = logits()
    (slope,) = torch.autograd.grad(loss.generator(None, fake), fake)
    assert torch.allclose(slope, fake / 5), "the derivative of half a square is the distance itself"


def test_with_equation_8_s_labels_the_game_is_pearson_s_divergence() -> None:
    """Theorem of section 3.2: 2 C(G) = χ²(p_data + p_G ‖ 2 p_G), with the best D = (b p + a q)/(p + q)."""
    loss = LeastSquares(a=-1.0, b=1.0, c=0.0)
    p, q = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64), torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)
    best = (p - q) / (p + q)
    # C(G) adds the real images' share of G's criterion, 1/2 E_x[(D(x) - c)²], a constant for G.
    criterion = sum(density @ torch.stack([loss.generator(None, v[None]) for v in best]) for density in (p, q))
    assert 2 * criterion == pytest.approx((((p + q) - 2 * q).square() / (p + q)).sum())


def test_the_best_discriminator_is_a_stationary_point() -> None:
    """Atoms of p and q drawn in proportion: a gradient of zero at D = (b p + a q)/(p + q)."""
    loss = LeastSquares(a=0.0, b=1.0)
    # Two places: one with 3 real and 1 fake images, the other with 1 and 3.
    place = torch.tensor([0.75, 0.25], dtype=torch.float64, requires_grad=True)
    real, fake = place[[0, 0, 0, 1]], place[[0, 1, 1, 1]]
    (slope,) = torch.autograd.grad(loss.discriminator(real, fake), place)
    assert torch.allclose(slope, torch.zeros(2, dtype=torch.float64))
