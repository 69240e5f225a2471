"""The relativistic averages against the paper's formulas, written out image by image."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

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


@forms
def test_the_averages_carry_gradients_and_so_the_total_push_is_nil(loss: Relativistic) -> None:
    """Shifting all logits changes nothing, so all slopes sum to zero; detached means would break this."""
    real = torch.randn(8, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(8, dtype=torch.float64, requires_grad=True)
    for value in (loss.discriminator(real, fake), loss.generator(real, fake)):
        on_real, on_fake = torch.autograd.grad(value, (real, fake))
        assert (on_real.sum() + on_fake.sum()).item() == pytest.approx(0, abs=1e-12)
        assert on_real.abs().sum() > 0
