"""The data-to-data cross-entropy, against a loop over samples."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from torch.nn.functional import normalize

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.mlp import Discriminator
from ganzoo_plugins.regularizers.reacgan import DataToData, Proxies, data_to_data_cross_entropy


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
    embedded, proxy = normalize(torch.randn(7, 4), dim=1), normalize(torch.randn(5, 4), dim=1)[label]
    settings = {"temperature": 0.3, "positive": 0.9, "negative": -0.1}
    found = data_to_data_cross_entropy(embedded, proxy, label, **settings)
    assert found.item() == pytest.approx(by_hand(embedded, proxy, label, **settings), rel=1e-5, abs=1e-6)


def test_one_class_alone_has_nothing_to_tell_apart_and_stays_finite() -> None:
    embedded = normalize(torch.randn(4, 3), dim=1).requires_grad_()
    loss = data_to_data_cross_entropy(
        embedded, embedded.detach(), torch.zeros(4, dtype=torch.int64), temperature=0.5, positive=0.9, negative=0.0
    )
    loss.backward()
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    assert torch.isfinite(embedded.grad).all()


def test_an_image_within_both_margins_pulls_no_more() -> None:
    """f on its proxy, and every other class opposite: inside the margins the loss is flat."""
    embedded = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    proxy = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    data_to_data_cross_entropy(
        embedded, proxy, torch.tensor([0, 1]), temperature=0.5, positive=0.95, negative=0.05
    ).backward()
    assert embedded.grad.abs().max() == 0


@pytest.mark.parametrize(("cosine", "pushes"), [(-0.01, False), (0.01, False), (0.03, True)])
def test_images_of_two_classes_push_each_other_off_only_above_the_negative_margin(cosine: float, pushes: bool) -> None:
    embedded = torch.tensor([[1.0, 0.0], [cosine, (1 - cosine**2) ** 0.5]], requires_grad=True)
    data_to_data_cross_entropy(
        embedded, embedded.detach(), torch.tensor([0, 1]), temperature=0.5, positive=0.98, negative=0.02
    ).backward()
    assert (embedded.grad.abs().max().item() > 0) == pushes


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
