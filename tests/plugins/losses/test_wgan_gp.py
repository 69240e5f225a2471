"""The Wasserstein loss, and the gradient penalty on critics whose slope is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ganzoo import Batch, RegularizerContext
from ganzoo_plugins.losses.wgan_gp import GradientPenalty, Wasserstein


def context(critic: object, real: Tensor, fake: Tensor) -> RegularizerContext:
    batch = Batch(real, torch.zeros(len(real), dtype=torch.int64), torch.zeros(len(real), 1))
    return RegularizerContext({}, critic, batch, lambda: fake)


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 2, 2, dtype=torch.float64)


def test_the_loss_is_the_difference_of_means() -> None:
    real, fake = torch.tensor([1.0, 3.0]), torch.tensor([5.0, 0.0, 1.0])
    assert Wasserstein().discriminator(real, fake).item() == 0
    assert Wasserstein().generator(None, fake).item() == -2


def test_gradients_are_plus_and_minus_one_over_n() -> None:
    real, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    by_real, by_fake = torch.autograd.grad(Wasserstein().discriminator(real, fake), (real, fake))
    (by_generator,) = torch.autograd.grad(Wasserstein().generator(None, fake), fake)
    assert by_real.tolist() == [-0.25] * 4
    assert by_fake.tolist() == [0.25] * 4
    assert by_generator.tolist() == [-0.25] * 4


@pytest.mark.parametrize(("length", "target", "expected"), [(1, 1, 0), (3, 1, 4), (0.5, 1, 0.25), (3, 0, 9), (2, 3, 1)])
def test_a_linear_critic_s_slope_is_its_weight(length: float, target: float, expected: float) -> None:
    weight = torch.tensor([0.6, 0.0, 0.8, 0.0], dtype=torch.float64) * length
    seen = context(lambda x: x.flatten(1) @ weight, images(), images())
    assert GradientPenalty(target=target).penalty(seen).item() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(("length", "expected"), [(0.5, 0.0), (1.0, 0.0), (3.0, 4.0)])
def test_one_sided_forgives_a_flat_critic(length: float, expected: float) -> None:
    weight = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64) * length
    seen = context(lambda x: x.flatten(1) @ weight, images(), images())
    assert GradientPenalty(one_sided=True).penalty(seen).item() == pytest.approx(expected, abs=1e-9)


def test_a_quadratic_critic_s_slope_is_the_point_itself() -> None:
    real, fake = torch.zeros(50_000, 1, 1, 1), torch.full((50_000, 1, 1, 1), 4.0)
    seen = context(lambda x: x.square().flatten(1).sum(1) / 2, real, fake)
    # The point is uniform in [0, 4], so E[(x - 1)²] = ((4 - 1)³ + 1) / 12.
    assert GradientPenalty().penalty(seen).item() == pytest.approx(28 / 12, rel=0.03)


def test_the_critic_s_gradient_agrees_with_finite_differences() -> None:
    real = images()
    fake = real.clone()  # no freedom in between, so that only the weights vary

    def penalty(weight: Tensor) -> Tensor:
        return GradientPenalty().penalty(context(lambda x: torch.tanh(x.flatten(1) @ weight), real, fake))

    assert gradcheck(penalty, (torch.randn(4, dtype=torch.float64, requires_grad=True),))


def test_a_dead_critic_has_a_finite_gradient() -> None:
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    penalty = GradientPenalty().penalty(context(lambda x: x.flatten(1) @ weight, images(), images()))
    penalty.backward()
    assert penalty.item() == pytest.approx(1, abs=1e-5)
    assert torch.isfinite(weight.grad).all()
