"""The margin of a support vector machine: the last layer's norm alone."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GanzooError, GaussianPrior, Spec
from ganzoo_plugins.networks import stylegan2
from ganzoo_plugins.networks.dcgan import Discriminator as Convolutional
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.geometric import SVMMargin

SPEC = Spec((1, 2, 2), GaussianPrior(dim=4))


def test_it_is_half_the_squared_norm_of_the_last_layer_alone(context) -> None:
    discriminator = Discriminator(SPEC, hidden=[3])
    with torch.no_grad():
        discriminator.head.linear.weight.copy_(torch.tensor([[3.0, 0.0, -4.0]]))
    nothing = torch.zeros(2, 1, 2, 2)
    seen = context(discriminator, nothing, nothing, networks={"discriminator": discriminator})
    penalty = SVMMargin().penalty(seen)
    assert penalty.item() == pytest.approx(12.5)
    penalty.backward()
    assert torch.equal(discriminator.head.linear.weight.grad, torch.tensor([[3.0, 0.0, -4.0]]))
    assert all(p.grad is None for p in discriminator.trunk.parameters())


def test_spectral_normalisation_leaves_no_margin_to_widen() -> None:
    discriminator = Convolutional(Spec((1, 8, 8), GaussianPrior(dim=4)), width=2)
    SVMMargin().bind(SPEC, {"discriminator": discriminator})
    nn.utils.parametrizations.spectral_norm(discriminator.head.linear)
    with pytest.raises(GanzooError, match=r"svm-margin.*spectral_norm"):
        SVMMargin().bind(SPEC, {"discriminator": discriminator})


def test_an_equalised_learning_rate_leaves_one() -> None:
    spec = Spec((1, 8, 8), GaussianPrior(dim=4))
    SVMMargin().bind(spec, {"discriminator": stylegan2.Discriminator(spec, width=4)})
