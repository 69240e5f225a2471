"""The margin of a support vector machine, against one solved exactly."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import Batch, GanzooError, GaussianPrior, RegularizerContext, Spec
from ganzoo_plugins.networks import stylegan2
from ganzoo_plugins.networks.dcgan import Discriminator as Convolutional
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.geometric import SVMMargin

SPEC = Spec((1, 2, 2), GaussianPrior(dim=4))


def context(discriminator: nn.Module) -> RegularizerContext:
    nothing = torch.zeros(2, 1, 2, 2)
    batch = Batch(nothing, torch.zeros(2, dtype=torch.int64), torch.zeros(2, 4))
    return RegularizerContext({"discriminator": discriminator}, discriminator, batch, lambda: nothing)


def test_it_is_half_the_squared_norm_of_the_last_layer_alone() -> None:
    discriminator = Discriminator(SPEC, hidden=[3])
    with torch.no_grad():
        discriminator.head.linear.weight.copy_(torch.tensor([[3.0, 0.0, -4.0]]))
    penalty = SVMMargin().penalty(context(discriminator))
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


def test_a_projection_on_the_label_is_not_one_linear_head() -> None:
    spec = Spec((1, 2, 2), GaussianPrior(dim=4), classes=3)
    SVMMargin().bind(spec, {"discriminator": Discriminator(spec, conditioning="concat")})
    with pytest.raises(GanzooError, match=r"svm-margin.*mlp"):
        SVMMargin().bind(spec, {"discriminator": Discriminator(spec, conditioning="projection")})


@pytest.mark.parametrize("head", [nn.Flatten(0), nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 1))], ids=["none", "two"])
def test_a_discriminator_without_one_linear_head_is_refused(head: nn.Module) -> None:
    discriminator = Discriminator(SPEC)
    discriminator.head = head
    with pytest.raises(GanzooError, match=r"svm-margin.*mlp"):
        SVMMargin().bind(SPEC, {"discriminator": discriminator})
