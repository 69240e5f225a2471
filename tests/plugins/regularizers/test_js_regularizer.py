"""The JS-regularizer on critics whose gradient is known, and what it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo import GaussianPrior, Spec
from ganzoo.config.loading import load_recipe
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.js_regularizer import JSRegularizer


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 2, 2, dtype=torch.float64)


def test_each_side_s_squared_gradient_counts_by_the_square_of_its_error(context) -> None:
    """D(x) = 3 x has the gradient 3; at ln 3 and -ln 3, σ is 3/4 and 1/4."""
    at = torch.tensor(3.0, dtype=torch.float64).log() / 3
    real, fake = at.view(1, 1, 1, 1), at.view(1, 1, 1, 1)
    seen = context(lambda x: 3 * x.flatten(1).sum(1), real, fake)
    assert JSRegularizer().penalty(seen).item() == pytest.approx((9 / 16 + 9 * 9 / 16) / 2)
    seen = context(lambda x: 3 * x.flatten(1).sum(1), real, -fake)
    assert JSRegularizer().penalty(seen).item() == pytest.approx((9 / 16 + 9 / 16) / 2)


def test_it_is_the_paper_s_equation_on_a_network(context) -> None:
    critic = Discriminator(Spec((1, 2, 2), GaussianPrior(dim=1)), hidden=[16, 8]).double()
    parts = []
    for x, wrong in ((images(5), lambda d: 1 - d), (images(7), lambda d: d)):
        leaf = x.clone().requires_grad_()
        logits = critic(leaf)
        (gradient,) = torch.autograd.grad(logits.sum(), leaf)
        parts.append((x, (wrong(logits.sigmoid()).square() * gradient.flatten(1).square().sum(1)).mean()))
    (real, on_real), (fake, on_fake) = parts
    penalty = JSRegularizer().penalty(context(critic, real, fake))
    assert penalty.item() == pytest.approx(((on_real + on_fake) / 2).item(), rel=1e-9)


def test_a_confident_critic_costs_nothing_and_overflows_nowhere(context) -> None:
    weight = torch.full((4,), 1e4, requires_grad=True)
    ones = torch.ones(3, 1, 2, 2)
    value = JSRegularizer().penalty(context(lambda x: x.flatten(1) @ weight, ones, -ones))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(weight.grad).all()


def test_the_recipe_anneals_as_the_paper_does(zoo) -> None:
    (term,) = load_recipe("js-regularizer-mnist", zoo).regularizers
    weight = term.options["weight"]
    assert [weight.at(images, total=100) for images in (0, 50, 100)] == pytest.approx([2.0, 0.2, 0.02])
