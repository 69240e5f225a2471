"""R1 and R2 on critics whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck

from ganzoo import Batch, GaussianPrior, RegularizerContext, Spec
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.r1 import R1, R2


def context(critic: object, real: Tensor, fake: Tensor) -> RegularizerContext:
    batch = Batch(real, torch.zeros(len(real), dtype=torch.int64), torch.zeros(len(real), 1))
    return RegularizerContext({}, critic, batch, lambda: fake)


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 2, 2, dtype=torch.float64)


@pytest.mark.parametrize("penalty", [R1(), R2()])
def test_a_linear_critic_costs_half_its_squared_weight(penalty: R1) -> None:
    weight = torch.tensor([1.0, -2.0, 3.0, 0.5], dtype=torch.float64)
    seen = context(lambda x: x.flatten(1) @ weight, images(), images())
    assert penalty.penalty(seen).item() == pytest.approx(14.25 / 2)


def test_r1_looks_at_real_and_r2_at_fake() -> None:
    real, fake = images(), images()
    seen = context(lambda x: x.square().flatten(1).sum(1) / 2, real, fake)
    assert torch.allclose(R1().penalty(seen), real.square().flatten(1).sum(1).mean() / 2)
    assert torch.allclose(R2().penalty(seen), fake.square().flatten(1).sum(1).mean() / 2)


@pytest.mark.parametrize("penalty", [R1(), R2()])
def test_the_critic_s_gradient_agrees_with_finite_differences(penalty: R1) -> None:
    real, fake = images(), images()

    def value(weight: Tensor, out: Tensor) -> Tensor:
        return penalty.penalty(context(lambda x: torch.tanh(x.flatten(1) @ weight) @ out, real, fake))

    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(value, (weight, torch.randn(3, dtype=torch.float64, requires_grad=True)))


def test_the_gradient_of_a_real_network_agrees_with_finite_differences() -> None:
    critic = Discriminator(Spec((1, 2, 2), GaussianPrior(dim=1)), hidden=[16, 8]).double()
    x, step = images(3), 1e-6
    gradient = []
    for pixel in range(4):
        shift = torch.zeros(1, 1, 2, 2, dtype=torch.float64)
        shift.view(-1)[pixel] = step
        gradient.append((critic(x + shift) - critic(x - shift)) / (2 * step))
    expected = torch.stack(gradient).square().sum(0).mean() / 2
    assert R1().penalty(context(critic, x, x)).item() == pytest.approx(expected.item(), rel=1e-6)


@pytest.mark.parametrize("penalty", [R1(), R2()])
def test_squares_of_half_precise_images_are_added_up_in_float32(penalty: R1) -> None:
    """With D(x) = |x|²/2 the penalty is |x|²/2 too, of 2049 ones, a number that bfloat16 does not have."""
    ones = torch.ones(2, 1, 1, 2049, dtype=torch.bfloat16)
    found = penalty.penalty(context(lambda x: x.square().flatten(1).sum(1) / 2, ones, ones))
    assert found.dtype == torch.float32
    assert found.item() == 2049 / 2
