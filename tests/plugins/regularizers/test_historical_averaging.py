"""Historical averaging against a list of all past weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.regularizers.historical_averaging import HistoricalAveraging

SPEC = Spec((1, 1, 1), GaussianPrior(dim=1))


def test_it_is_the_squared_distance_to_the_mean_of_all_that_was(context) -> None:
    player = nn.Linear(3, 2)
    networks = {"generator": player}
    term = HistoricalAveraging()
    term.bind(SPEC, networks)
    history = [nn.utils.parameters_to_vector(player.parameters()).detach().clone()]
    nothing = torch.zeros(1, 1, 1, 1)
    seen = context(lambda x: x, nothing, nothing, networks=networks)
    assert term.penalty(seen).item() == 0
    for _ in range(5):
        with torch.no_grad():
            for parameter in player.parameters():
                parameter.add_(torch.randn_like(parameter))
        now = nn.utils.parameters_to_vector(player.parameters())
        mean = torch.stack(history).mean(0)
        value = term.penalty(seen)
        assert value.item() == pytest.approx((now - mean).square().sum().item(), rel=1e-5)
        player.zero_grad()
        value.backward()
        gradient = torch.cat([parameter.grad.flatten() for parameter in player.parameters()])
        assert torch.allclose(gradient, 2 * (now - mean), atol=1e-5)
        with torch.no_grad():
            term.after_step(networks)
        history.append(now.detach().clone())


def test_the_side_is_an_option_and_the_other_player_is_left_alone(context) -> None:
    networks = {"generator": nn.Linear(1, 1), "discriminator": nn.Linear(2, 1)}
    term = HistoricalAveraging(side="discriminator")
    term.bind(SPEC, networks)
    assert term.average.shape == (3,)
    nothing = torch.zeros(1, 1, 1, 1)
    term.penalty(context(lambda x: x, nothing, nothing, networks=networks)).backward()
    assert networks["generator"].weight.grad is None
