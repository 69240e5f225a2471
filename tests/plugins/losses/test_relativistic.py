"""The relativistic averages against the paper's formulas, written out image by image."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch.autograd import gradcheck

from ganzoo_plugins.losses.relativistic import (
    Relativistic,
    RelativisticAverage,
    RelativisticAverageHinge,
    RelativisticAverageLeastSquares,
)


def log_sigmoid(x: float) -> float:
    return math.log(1 / (1 + math.exp(-x)))


# f(distance of a real image) and g(distance of a fake) of each form, as section 4 and appendix A write them.
PAPER: list[tuple[Relativistic, Callable[[float], float], Callable[[float], float]]] = [
    (RelativisticAverage(), lambda c: -log_sigmoid(c), lambda c: -math.log(1 - 1 / (1 + math.exp(-c)))),
    (RelativisticAverageLeastSquares(), lambda c: (c - 1) ** 2, lambda c: (c + 1) ** 2),
    (RelativisticAverageHinge(), lambda c: max(0.0, 1 - c), lambda c: max(0.0, 1 + c)),
]
forms = pytest.mark.parametrize("loss", [loss for loss, _, _ in PAPER], ids=lambda loss: type(loss).__name__)


@pytest.mark.parametrize(("loss", "f", "g"), PAPER, ids=lambda x: type(x).__name__)
def test_image_by_image(loss: Relativistic, f: Callable[[float], float], g: Callable[[float], float]) -> None:
    real, fake = [1.0, 5.0, -2.0], [0.5, 3.0, 0.25]
    mean_real, mean_fake = sum(real) / 3, sum(fake) / 3
    judged = sum(f(x - mean_fake) for x in real) / 3 + sum(g(y - mean_real) for y in fake) / 3
    fooled = sum(f(y - mean_real) for y in fake) / 3 + sum(g(x - mean_fake) for x in real) / 3
    assert loss.discriminator(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(judged)
    assert loss.generator(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(fooled)


@pytest.mark.parametrize(
    ("loss", "cost"),
    [(RelativisticAverage(), math.log(4)), (RelativisticAverageLeastSquares(), 2), (RelativisticAverageHinge(), 2)],
)
def test_an_undecided_discriminator(loss: Relativistic, cost: float) -> None:
    level = torch.full((8,), 3.5)
    assert loss.discriminator(level, level).item() == pytest.approx(cost)
    assert loss.generator(level, level).item() == pytest.approx(cost)


@forms
def test_only_distances_matter(loss: Relativistic) -> None:
    real, fake = torch.randn(8, dtype=torch.float64), torch.randn(8, dtype=torch.float64)
    assert torch.allclose(loss.discriminator(real + 3, fake + 3), loss.discriminator(real, fake))


@forms
def test_the_averages_carry_gradients_and_so_the_total_push_is_nil(loss: Relativistic) -> None:
    """Shifting all logits changes nothing, so all slopes sum to zero; detached means would break this."""
    real = torch.randn(8, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(8, dtype=torch.float64, requires_grad=True)
    for value in (loss.discriminator(real, fake), loss.generator(real, fake)):
        on_real, on_fake = torch.autograd.grad(value, (real, fake))
        assert (on_real.sum() + on_fake.sum()).item() == pytest.approx(0, abs=1e-12)
        assert on_real.abs().sum() > 0


@forms
def test_gradients_agree_with_finite_differences(loss: Relativistic) -> None:
    pair = [torch.randn(5, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert gradcheck(loss.discriminator, pair)
    assert gradcheck(loss.generator, pair)


@forms
def test_with_one_image_of_each_kind_the_average_is_the_image(loss: Relativistic) -> None:
    real, fake = torch.tensor([2.0]), torch.tensor([0.5])
    assert torch.equal(loss.discriminator(real, fake), loss.cost(torch.tensor(1.5), torch.tensor(-1.5)))
    assert loss.discriminator(real, fake) < loss.discriminator(fake, real)


@forms
@pytest.mark.parametrize("size", [-1e4, 1e4])
def test_extreme_logits_stay_finite(loss: Relativistic, size: float) -> None:
    real = torch.full((4,), size, requires_grad=True)
    total = loss.discriminator(real, -real) + loss.generator(real, -real)
    total.backward()
    assert torch.isfinite(total)
    assert torch.isfinite(real.grad).all()


@forms
def test_in_a_game_the_generator_is_given_real_logits(loss: Relativistic, play) -> None:
    losses, networks, batch = play(loss)
    real, fake = (networks["discriminator"](x) for x in (batch.real, networks["generator"](batch.z)))
    assert torch.allclose(losses["generator"]["loss"], loss.generator(real, fake))
