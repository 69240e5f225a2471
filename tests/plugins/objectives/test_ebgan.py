"""EBGAN's energies and its pulling-away term against the formulas, pair by pair."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor, nn

from ganzoo_plugins.networks.autoencoder import fully_connected
from ganzoo_plugins.networks.mlp import Discriminator
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
