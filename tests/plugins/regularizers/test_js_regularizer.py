"""The JS-regularizer on critics whose gradient is known, and what it stands for."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck
from torch.nn.functional import softplus

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


def test_the_gradient_for_the_critic_includes_that_of_its_error(context) -> None:
    real, fake = images(), images()

    def value(weight: Tensor, out: Tensor) -> Tensor:
        return JSRegularizer().penalty(context(lambda x: torch.tanh(x.flatten(1) @ weight) @ out, real, fake))

    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert gradcheck(value, (weight, torch.randn(3, dtype=torch.float64, requires_grad=True)))


def test_the_equation_is_what_a_little_noise_adds_to_the_loss_of_the_best_discriminator() -> None:
    """Noise of variance γ adds γ/2 Ω; p and q are Gaussians of variance 1 around ±1/4, so that log(p/q) = x / 2."""
    grid = torch.linspace(-12, 12, 4801, dtype=torch.float64)
    variance = 1e-3

    def density(mean: float, spread: float) -> Tensor:
        return torch.exp(-((grid - mean) ** 2) / (2 * spread)) / (2 * torch.pi * spread) ** 0.5

    def loss(spread: float) -> Tensor:
        terms = density(0.25, spread) * softplus(-grid / 2) + density(-0.25, spread) * softplus(grid / 2)
        return torch.trapezoid(terms, grid)

    error = density(0.25, 1.0) * torch.sigmoid(-grid / 2) ** 2 + density(-0.25, 1.0) * torch.sigmoid(grid / 2) ** 2
    omega = torch.trapezoid(error / 4, grid)  # the gradient of D is 1/2
    assert (loss(1 + variance) - loss(1.0)).item() == pytest.approx((variance / 2 * omega).item(), rel=1e-2)


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
