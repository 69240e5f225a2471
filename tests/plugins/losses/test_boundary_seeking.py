"""Boundary-seeking GAN's losses against the paper's formula in probabilities."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo_plugins.losses.boundary_seeking import BoundarySeeking

LOSS = BoundarySeeking()


def logits(n: int = 8) -> torch.Tensor:
    return 2 * torch.randn(n, dtype=torch.float64, requires_grad=True)


def test_the_generator_s_loss_in_probabilities() -> None:
    fake = logits()
    d = fake.sigmoid()
    assert torch.allclose(LOSS.generator(None, fake), ((d.log() - (1 - d).log()) ** 2).mean() / 2)


def test_the_discriminator_s_loss_in_probabilities() -> None:
    real, fake = logits(), logits()
    expected = -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()
    assert torch.allclose(LOSS.discriminator(real, fake), expected)
    assert LOSS.discriminator(torch.zeros(4), torch.zeros(4)).item() == pytest.approx(math.log(4))


def test_the_generator_is_drawn_to_the_boundary_from_either_side() -> None:
    fake = torch.tensor([-3.0, 0.0, 2.0], requires_grad=True)
    LOSS.generator(None, fake).backward()
    assert torch.allclose(3 * fake.grad, torch.tensor([-3.0, 0.0, 2.0]))


def test_at_the_best_discriminator_it_measures_the_log_ratio() -> None:
    """D* = p/(p + q) has the logit log(p/q), so the loss is E_q[log²(p/q)]/2, zero for p = q alone."""
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.25, 0.25, 0.5])
    best = torch.logit(p / (p + q))
    fakes = best[[0, 1, 2, 2]]  # four fakes in proportion to q
    expected = sum(q[i] * math.log(p[i] / q[i]) ** 2 for i in range(3)) / 2
    assert LOSS.generator(None, fakes).item() == pytest.approx(float(expected))
