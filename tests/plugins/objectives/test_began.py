"""BEGAN: the balance k against a computation of its own, and the losses against the paper's formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GaussianPrior, Spec
from ganzoo_plugins.networks.autoencoder import fully_connected
from ganzoo_plugins.networks.mlp import Generator
from ganzoo_plugins.objectives.began import BEGAN

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))


class Scripted(nn.Module):
    """A discriminator whose reconstruction is always zero: the error is the image's mean brightness."""

    def reconstruct(self, images: Tensor) -> Tensor:
        return torch.zeros_like(images)

    def forward(self, images: Tensor) -> Tensor:
        return -(images - self.reconstruct(images)).abs().flatten(1).mean(1)


class Painter(nn.Module):
    """A generator that paints its first latent number everywhere."""

    def forward(self, z: Tensor) -> Tensor:
        return z[:, :1, None, None].expand(-1, 1, 4, 4)


def batch(real: float, fake: float, n: int = 2) -> Batch:
    return Batch(torch.full((n, 1, 4, 4), real), torch.zeros(n, dtype=torch.int64), torch.full((n, 3), fake))


def test_the_balance_follows_the_paper_s_formula() -> None:
    """Errors of every kind, so that k rises, falls, and is stopped at 0 and at 1."""
    objective = BEGAN(diversity=0.5, gain=0.4)
    networks = {"generator": Painter(), "discriminator": Scripted()}
    objective.bind(SPEC, networks)
    discriminator, generator = objective.phases()
    steps = [(1.0, 0.1), (1.0, 0.05), (0.9, 0.8), (0.2, 1.0), (0.1, 1.0)] + [(1.0, 0.0)] * 8
    k, ks = 0.0, []
    for x, g in steps:
        losses = discriminator.loss(networks, batch(x, g))
        assert losses["loss"].item() == pytest.approx(x - k * g, abs=1e-6)
        assert losses["k"].item() == pytest.approx(k, abs=1e-6)
        losses = generator.loss(networks, batch(x, g))
        assert losses["loss"].item() == pytest.approx(g)
        assert losses["convergence"].item() == pytest.approx(x + abs(0.5 * x - g), abs=1e-6)
        generator.after(networks)
        k = min(1.0, max(0.0, k + 0.4 * (0.5 * x - g)))
        assert objective.k.item() == pytest.approx(k, abs=1e-6)
        ks.append(k)
    assert 0.0 in ks
    assert ks[-1] == 1.0


def test_the_balance_uses_the_generator_s_own_fakes() -> None:
    """L(G(z_G)) of the generator's phase, not L(G(z_D))."""
    objective = BEGAN(diversity=1.0, gain=0.1)
    networks = {"generator": Painter(), "discriminator": Scripted()}
    objective.bind(SPEC, networks)
    discriminator, generator = objective.phases()
    discriminator.loss(networks, batch(0.5, 0.9))
    generator.loss(networks, batch(0.7, 0.25))
    generator.after(networks)
    assert objective.k.item() == pytest.approx(0.1 * (0.5 - 0.25))


def test_each_player_s_gradient_is_of_its_own_loss() -> None:
    objective = BEGAN()
    networks = {"generator": Generator(SPEC, hidden=[8]), "discriminator": fully_connected(SPEC, hidden=[8], code=2)}
    objective.bind(SPEC, networks)
    objective.k.fill_(0.3)
    real = torch.rand(4, 1, 4, 4) * 2 - 1
    given = Batch(real, torch.zeros(4, dtype=torch.int64), torch.randn(4, 3))
    parameters = list(networks["discriminator"].parameters())
    found = torch.autograd.grad(objective.discriminator_loss(networks, given)["loss"], parameters)

    def gradient(images: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(-networks["discriminator"](images.detach()).mean(), parameters)

    fake = networks["generator"](given.z)
    for slope, of_real, of_fake in zip(found, gradient(real), gradient(fake), strict=True):
        assert torch.allclose(slope, of_real - 0.3 * of_fake, atol=1e-6)
