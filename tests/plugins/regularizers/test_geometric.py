"""The margin of a support vector machine, against one solved exactly."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import AdversarialGame, Batch, GanzooError, GaussianPrior, RegularizerContext, Spec
from ganzoo_plugins.losses.hinge import Hinge
from ganzoo_plugins.networks import stylegan2
from ganzoo_plugins.networks.dcgan import Discriminator as Convolutional
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.geometric import SVMMargin

SPEC = Spec((1, 2, 2), GaussianPrior(dim=4))


class Plane(nn.Module):
    """A linear classifier of two-pixel images: the SVM alone, φ being the identity."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Sequential(nn.Linear(2, 1), nn.Flatten(0))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(images.flatten(1))


class Points(nn.Module):
    """A generator whose images are its codes."""

    def forward(self, z: Tensor) -> Tensor:
        return z.view(-1, 1, 1, 2)


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


def test_hinge_and_margin_find_the_maximum_margin_plane() -> None:
    """Points at x = ±2 with y all over: the exact solution is w = (1/2, 0), b = 0, its margin 2/‖w‖ = 4."""
    y = torch.linspace(-3, 3, 8)
    real, fake = torch.stack([2 + y.abs() * 0.5, y], 1), torch.stack([-2 - y.abs() * 0.5, -y], 1)
    real[0], fake[0] = torch.tensor([2.0, 1.0]), torch.tensor([-2.0, 1.0])
    real[1], fake[1] = torch.tensor([2.0, -1.0]), torch.tensor([-2.0, -1.0])
    torch.manual_seed(0)
    networks = {"generator": Points(), "discriminator": Plane()}
    game = AdversarialGame(Hinge(), [SVMMargin(weight=0.5)])
    game.bind(Spec((1, 1, 2), GaussianPrior(dim=2)), networks)
    batch = Batch(real.view(-1, 1, 1, 2), torch.zeros(8, dtype=torch.int64), fake)
    optimizer = torch.optim.SGD(networks["discriminator"].parameters(), lr=0.05)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, 1000)
    for _ in range(1000):
        optimizer.zero_grad()
        game.phases()[0].loss(networks, batch)["loss"].backward()
        optimizer.step()
        schedule.step()
    found = networks["discriminator"].head[0]
    assert found.weight[0].tolist() == pytest.approx([0.5, 0.0], abs=0.02)
    assert found.bias.item() == pytest.approx(0.0, abs=0.02)


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
