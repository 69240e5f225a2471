"""The auxiliary classifier: closed forms, and which networks each phase trains."""

from __future__ import annotations

from math import log

import pytest
import torch
from torch import Tensor, nn

from ganzoo import AdversarialGame, Batch, GaussianPrior, Spec
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.regularizers.acgan import AuxiliaryClassifier

SPEC = Spec((1, 2, 2), GaussianPrior(dim=4), classes=3)


class Certain(nn.Module):
    """A classifier whose logits are its features."""

    def forward(self, features: Tensor) -> Tensor:
        return features


def game(**options: object) -> tuple[AdversarialGame, nn.ModuleDict, Batch]:
    torch.manual_seed(1)
    networks = nn.ModuleDict(
        {
            "generator": Generator(SPEC, hidden=[8], conditioning="concat"),
            "discriminator": Discriminator(SPEC, hidden=[8], conditioning="none"),
        }
    )
    played = AdversarialGame(NonSaturating(), [AuxiliaryClassifier(**options)])
    networks.update(played.bind(SPEC, networks))
    batch = Batch(torch.rand(6, 1, 2, 2) * 2 - 1, torch.arange(6) % 3, torch.randn(6, 4))
    return played, networks, batch


@pytest.mark.parametrize(("player", "on_fakes", "wanted"), [
    ("discriminator", True, 2 * log(3)), ("discriminator", False, log(3)), ("generator", True, log(3)),
])  # fmt: skip
def test_a_classifier_without_an_opinion_costs_log_classes(context, player, on_fakes, wanted) -> None:
    images, shown = torch.zeros(2, 3, 1, 1), []
    seen = context(
        lambda x: x, images, images.clone(), networks={"classifier": Certain()}, player=player,
        features=lambda x: (shown.append(x), x.flatten(1))[1],
    )  # fmt: skip
    assert AuxiliaryClassifier(on_fakes=on_fakes).penalty(seen).item() == pytest.approx(wanted)
    fakes = [True] if player == "generator" else [False, True][: 1 + on_fakes]
    assert [x is seen.fake for x in shown] == fakes


def test_softmax_is_applied_once(context) -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0]]).view(1, 3, 1, 1)
    seen = context(
        lambda x: x, logits, logits, networks={"classifier": Certain()}, player="generator",
        features=lambda x: x.flatten(1),
    )  # fmt: skip
    wanted = -torch.tensor([2.0, 0.0, -1.0]).softmax(0)[0].log()  # the label is 0
    assert AuxiliaryClassifier().penalty(seen).item() == pytest.approx(wanted.item())


def test_the_classifier_learns_in_the_discriminator_s_turn_and_is_frozen_in_the_generator_s() -> None:
    played, _, _ = game()
    assert {phase.name: phase.trains for phase in played.phases()} == {
        "discriminator": ("discriminator", "classifier"),
        "generator": ("generator",),
    }
    lazy, _, _ = game(every_steps=4)
    assert [(phase.name, phase.trains) for phase in lazy.phases()] == [
        ("discriminator", ("discriminator",)),
        ("discriminator/penalty", ("discriminator", "classifier")),
        ("generator", ("generator",)),
        ("generator/penalty", ("generator",)),
    ]
