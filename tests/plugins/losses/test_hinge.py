"""The hinge loss against its formula."""

from __future__ import annotations

import pytest
import torch

from ganzoo_plugins.losses.hinge import Hinge

LOSS = Hinge()


def test_by_hand() -> None:
    real, fake = torch.tensor([2.0, 0.5, -1.0]), torch.tensor([-3.0, 0.0, 2.0])
    # Real: 0 + 0.5 + 2; fake: 0 + 1 + 3; generator: -(-3 + 0 + 2).
    assert LOSS.discriminator(real, fake).item() == pytest.approx((2.5 + 4) / 3)
    assert LOSS.generator(None, fake).item() == pytest.approx(1 / 3)


def test_the_discriminator_learns_from_margin_violations_alone() -> None:
    real = torch.tensor([1.5, 0.9, -4.0], requires_grad=True)
    fake = torch.tensor([-1.5, -0.9, 4.0], requires_grad=True)
    LOSS.discriminator(real, fake).backward()
    assert torch.allclose(3 * real.grad, torch.tensor([0.0, -1.0, -1.0]))
    assert torch.allclose(3 * fake.grad, torch.tensor([0.0, 1.0, 1.0]))


def test_the_generator_is_pulled_with_the_same_force_everywhere() -> None:
    fake = torch.tensor([-1e4, 0.0, 1e4], requires_grad=True)
    LOSS.generator(None, fake).backward()
    assert torch.allclose(fake.grad, torch.full((3,), -1 / 3))


def test_the_best_discriminator_makes_it_total_variation() -> None:
    """min_D is 2 - ∫|p - q|, reached where D is the sign of p - q (Lim & Ye 2017, the proof of theorem 1)."""
    p, q = torch.tensor([0.7, 0.2, 0.1]), torch.tensor([0.2, 0.3, 0.5])

    def cost(logits: torch.Tensor) -> torch.Tensor:
        of_real = torch.stack([LOSS.discriminator(v[None], torch.tensor([-9.0])) for v in logits])
        of_fake = torch.stack([LOSS.discriminator(torch.tensor([9.0]), v[None]) for v in logits])
        return p @ of_real + q @ of_fake

    best = cost((p - q).sign())
    assert best.item() == pytest.approx(2 - (p - q).abs().sum().item())
    assert all(cost(2 * torch.randn(3)) >= best for _ in range(50))
