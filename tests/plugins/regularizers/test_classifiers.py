"""Classes from the shared features: the auxiliary classifier by closed forms, data-to-data cross-entropy by a loop."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from ganzoo import AdversarialGame, Batch, GaussianPrior, Spec
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.regularizers.acgan import AuxiliaryClassifier
from ganzoo_plugins.regularizers.reacgan import DataToData, Proxies, data_to_data_cross_entropy

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


def by_hand(embedded, proxy, label, temperature, positive, negative) -> float:
    total = 0.0
    for i in range(len(label)):
        close = exp(min(float(embedded[i] @ proxy[i]) - positive, 0.0) / temperature)
        others = [
            exp(max(float(embedded[i] @ embedded[j]) - negative, 0.0) / temperature)
            for j in range(len(label))
            if label[j] != label[i]
        ]
        total -= log(close / (close + sum(others)))
    return total / len(label)


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_it_is_the_equation(classes: int) -> None:
    torch.manual_seed(2)
    label = torch.arange(7) % classes
    embedded = normalize(torch.randn(7, 4), dim=1).requires_grad_()
    proxy = normalize(torch.randn(5, 4), dim=1)[label]
    settings = {"temperature": 0.3, "positive": 0.2, "negative": -0.1}  # some pairs are within either margin
    found = data_to_data_cross_entropy(embedded, proxy, label, **settings)
    found.backward()
    assert embedded.grad.isfinite().all()
    assert found.item() == pytest.approx(by_hand(embedded.detach(), proxy, label, **settings), rel=1e-5, abs=1e-6)


def test_embeddings_and_proxies_have_length_one() -> None:
    embedded, proxy = Proxies(5, 3, 8)(torch.randn(4, 5) * 100, torch.tensor([0, 1, 2, 0]))
    assert torch.allclose(embedded.norm(dim=1), torch.ones(4))
    assert torch.allclose(proxy.norm(dim=1), torch.ones(4))
    assert torch.equal(proxy[0], proxy[3])


@pytest.mark.parametrize(("player", "images"), [("discriminator", "real"), ("generator", "fake")])
def test_each_player_answers_for_its_own_images(context, player: str, images: str) -> None:
    spec = Spec((1, 1, 2), GaussianPrior(dim=1), classes=2)
    term = DataToData(dim=4)
    networks = dict(term.bind(spec, {"discriminator": Discriminator(spec, hidden=[2], conditioning="none")}))
    real, fake = torch.randn(3, 1, 1, 2), torch.randn(3, 1, 1, 2)
    asked: list[torch.Tensor] = []

    def features(x: torch.Tensor) -> torch.Tensor:
        asked.append(x)
        return x.flatten(1)

    term.penalty(context(lambda x: x, real, fake, networks=networks, features=features, player=player))
    assert [x is {"real": real, "fake": fake}[images] for x in asked] == [True]


def test_the_defaults_are_the_authors_for_cifar_10() -> None:
    term = DataToData()
    assert (term.weight, term.dim) == (0.5, 512)
    assert term.settings == {"temperature": 0.5, "positive": 0.98, "negative": pytest.approx(1 - 0.98)}
