"""LeCam: the term by hand, the averages by an independent sum, and that they are not forgotten."""

from __future__ import annotations

import pytest
import torch

from ganzoo import RegularizerContext
from ganzoo_plugins.regularizers.lecam import LeCam


def logits(context, real: list[float], fake: list[float]) -> RegularizerContext:
    nothing = torch.zeros(len(real), 1, 1, 1)
    return context(lambda x: x, nothing, nothing, real_logits=torch.tensor(real), fake_logits=torch.tensor(fake))


def test_the_first_step_s_averages_are_its_means(context) -> None:
    lecam = LeCam()
    value = lecam.penalty(logits(context, [1.0, 3.0], [-2.0, 0.0]))
    # α_R = 2, α_F = -1: ((1 + 1)² + (3 + 1)²) / 2 + ((-2 - 2)² + (0 - 2)²) / 2.
    assert value.item() == pytest.approx(10 + 10)
    assert (lecam.real_average.item(), lecam.fake_average.item()) == (2, -1)


def test_averages_are_plain_at_first_and_exponential_later(context) -> None:
    lecam = LeCam(decay=0.75)
    real = fake = 0.0
    for step in range(1, 12):
        lecam.penalty(logits(context, [float(step)], [-2.0 * step]))
        share = max(1 / step, 0.25)
        real += share * (step - real)
        fake += share * (-2 * step - fake)
        if step <= 4:
            assert lecam.real_average.item() == pytest.approx((step + 1) / 2)
        assert lecam.real_average.item() == pytest.approx(real, rel=1e-5)
        assert lecam.fake_average.item() == pytest.approx(fake, rel=1e-5)


def test_gradients_pull_each_kind_to_the_other_and_not_the_averages(context) -> None:
    real, fake = torch.tensor([1.0, 3.0], requires_grad=True), torch.tensor([-2.0, 0.0], requires_grad=True)
    nothing = torch.zeros(2, 1, 1, 1)
    lecam = LeCam()
    lecam.penalty(context(lambda x: x, nothing, nothing, real_logits=real, fake_logits=fake)).backward()
    assert real.grad.tolist() == [2.0, 4.0]
    assert fake.grad.tolist() == [-4.0, -2.0]
    assert not lecam.real_average.requires_grad
