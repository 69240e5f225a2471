"""Weight clipping really clips, after each step and nothing else."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo import GanzooError, GaussianPrior, Spec
from ganzoo_plugins.regularizers.weight_clipping import WeightClipping


def test_every_parameter_lands_in_the_box_and_none_inside_it_moves() -> None:
    critic = torch.nn.Linear(3, 1)
    with torch.no_grad():
        critic.weight.copy_(torch.tensor([[0.5, -0.2, 0.05]]))
        critic.bias.fill_(-7.0)
        WeightClipping(limit=0.1).after_step({"discriminator": critic, "generator": critic})
    assert critic.weight.tolist()[0] == pytest.approx([0.1, -0.1, 0.05])
    assert critic.bias.item() == pytest.approx(-0.1)


def test_frozen_weights_are_left_alone_and_computed_ones_refused() -> None:
    critic = torch.nn.Linear(3, 1)
    critic.bias.requires_grad = False
    with torch.no_grad():
        critic.bias.fill_(-7.0)
        WeightClipping(limit=0.1).after_step({"discriminator": critic})
    assert critic.bias.item() == -7
    spec = Spec((1, 1, 3), GaussianPrior(dim=2))
    WeightClipping().bind(spec, {"discriminator": critic})
    with pytest.raises(GanzooError, match="cannot limit weights that spectral_norm or equalised"):
        WeightClipping().bind(spec, {"discriminator": spectral_norm(critic)})


def test_the_paper_s_limit_is_the_default() -> None:
    assert WeightClipping().limit == 0.01
