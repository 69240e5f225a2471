"""Variational autoencoder: likelihoods against torch's distributions, and a bound that falls on digits."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.distributions import Bernoulli, Normal

from ganzoo import Batch, Dataset, GaussianPrior, Spec
from ganzoo_plugins.networks import encoders, mlp
from ganzoo_plugins.objectives.vae import VAE, negative_log_likelihood

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))


def built(objective: VAE, spec: Spec = SPEC, hidden: int = 8) -> nn.ModuleDict:
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(spec, hidden=[hidden]),
            "encoder": encoders.fully_connected(spec, hidden=[hidden], norm="none"),
        }
    )
    networks.update(objective.bind(spec, networks))
    return networks


def test_likelihoods_agree_with_torch_s_distributions() -> None:
    images, means = torch.randint(0, 2, (5, 1, 4, 4)) * 2.0 - 1, torch.rand(5, 1, 4, 4) * 1.8 - 0.9
    wanted = -Bernoulli((means + 1) / 2).log_prob((images + 1) / 2).sum((1, 2, 3))
    assert torch.allclose(negative_log_likelihood(images, means, "bernoulli", 1.0), wanted, rtol=1e-5)
    wanted = -Normal(means, 0.3).log_prob(images).sum((1, 2, 3))
    assert torch.allclose(negative_log_likelihood(images, means, "gaussian", 0.3), wanted, rtol=1e-5)


def test_the_bound_is_error_and_divergence() -> None:
    """With σ next to nothing the code is its mean, and both parts can be worked out."""
    objective = VAE(likelihood="gaussian", deviation=0.5)
    networks = built(objective)
    nn.init.zeros_(networks["deviation"].weight)
    nn.init.constant_(networks["deviation"].bias, -40.0)
    real = torch.rand(8, 1, 4, 4) * 2 - 1
    losses = objective.bound(networks, Batch(real, torch.zeros(8, dtype=torch.int64), torch.randn(8, 3)))
    codes = networks["encoder"](real)
    error = -Normal(networks["generator"](codes), 0.5).log_prob(real).sum((1, 2, 3)).mean()
    divergence = (codes.square().sum(1).mean() + 3 * (40 - 1)) / 2
    assert torch.allclose(losses["error"], error, rtol=1e-4)
    assert torch.allclose(losses["divergence"], divergence, rtol=1e-4)
    assert torch.allclose(losses["loss"], error + divergence, rtol=1e-4)


def test_codes_are_drawn_from_the_posterior_in_training() -> None:
    objective = VAE()
    networks = built(objective)
    seen = Batch(torch.rand(8, 1, 4, 4) * 2 - 1, torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))
    first, again = (objective.bound(networks, seen) for _ in range(2))
    assert torch.equal(first["divergence"], again["divergence"])
    assert first["error"] != again["error"]


def test_half_precision_still_learns_from_ink_it_was_sure_to_be_paper() -> None:
    """In bfloat16, tanh(-5) is exactly -1 and flat; the slope of the cross-entropy in its argument a is 2(y - t)."""
    objective = VAE()
    networks = built(objective)
    head = networks["generator"].head
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -5.0)
    ink = Batch(torch.ones(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))
    with torch.autocast("cpu", torch.bfloat16):
        objective.bound(networks, ink)["loss"].backward()
    assert torch.allclose(head.bias.grad, torch.full((16,), -2.0), atol=1e-3)


@pytest.mark.full
def test_the_bound_falls_on_digits(mnist: Dataset) -> None:
    spec, objective = Spec((1, 28, 28), GaussianPrior(dim=8)), VAE()
    networks = built(objective, spec, hidden=128)
    adam = torch.optim.Adam(networks.parameters(), 2e-3)
    found = []
    for step in range(200):
        real = mnist.images[step * 64 : step * 64 + 64].float() / 127.5 - 1
        losses = objective.bound(networks, Batch(real, torch.zeros(64, dtype=torch.int64), torch.empty(64, 8)))
        adam.zero_grad()
        losses["loss"].backward()
        adam.step()
        found.append(losses["loss"].item())
    # A pixel's mean over all digits, the same for every image, leaves about 206 nats.
    assert sum(found[-20:]) / 20 < 190
