"""Discriminators that are autoencoders: EBGAN's energies and pulling-away term, and BEGAN's balance, by formula."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GaussianPrior, Spec
from ganzoo_plugins.networks.autoencoder import fully_connected
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.objectives.began import BEGAN
from ganzoo_plugins.objectives.ebgan import EBGAN, PullingAway, pulling_away


def test_by_hand() -> None:
    """Energies 1 and 3 of real images, 4 and 12 of fakes, with a margin of 10."""
    real, fake = torch.tensor([-1.0, -3.0]), torch.tensor([-4.0, -12.0])
    assert EBGAN().discriminator(real, fake).item() == pytest.approx(2 + (6 + 0) / 2)
    assert EBGAN().generator(None, fake).item() == pytest.approx(8)
    assert EBGAN(margin=5.0).discriminator(real, fake).item() == pytest.approx(2 + (1 + 0) / 2)


def test_pulling_away_pair_by_pair() -> None:
    codes = torch.randn(5, 3, dtype=torch.float64)
    squares = [torch.cosine_similarity(one, other, dim=0) ** 2 for one, other in permutations(codes, 2)]
    torch.testing.assert_close(pulling_away(codes), sum(squares) / 20)


@pytest.mark.parametrize(("codes", "value"), [(torch.eye(4), 0.0), (torch.ones(4, 3), 1.0), (-torch.ones(1, 3), 0.0)])
def test_pulling_away_is_0_for_orthogonal_and_1_for_collapsed_codes(codes: Tensor, value: float) -> None:
    assert pulling_away(codes).item() == pytest.approx(value, abs=1e-6)
    assert pulling_away(7 * codes).item() == pytest.approx(value, abs=1e-6), "lengths don't matter"


def test_codes_of_zero_leave_gradients_finite() -> None:
    codes = torch.zeros(3, 2, requires_grad=True)
    pulling_away(codes).backward()
    assert torch.isfinite(codes.grad).all()


@pytest.mark.parametrize("kind", [fully_connected, Discriminator])
def test_it_joins_the_generator_s_loss_by_codes_or_features(play, kind: type[nn.Module]) -> None:
    losses, networks, batch = play(EBGAN(), PullingAway(weight=0.5), judge=kind)
    judge, fakes = networks["discriminator"], networks["generator"](batch.z)
    expected = pulling_away(judge.encode(fakes) if kind is fully_connected else judge.features(fakes))
    assert torch.allclose(losses["generator"]["penalty"], expected)
    assert "penalty" not in losses["discriminator"]


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
