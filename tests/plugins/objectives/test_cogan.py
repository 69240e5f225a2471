"""CoGAN: what the two domains share and what they do not, and the two games against the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from ganzoo import Batch, GanzooError, GaussianPrior, Spec
from ganzoo.evaluation.sampling import draw
from ganzoo_plugins.networks import mlp
from ganzoo_plugins.objectives.cogan import CoGAN, edges, negative

SPEC = Spec((1, 8, 8), GaussianPrior(dim=3))


def built(**options: object) -> tuple[CoGAN, nn.ModuleDict]:
    objective = CoGAN(**options)
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(SPEC, hidden=[8, 8], norm="none"),
            "discriminator": mlp.Discriminator(SPEC, hidden=[8, 6]),
        }
    )
    networks.update(objective.bind(SPEC, networks))
    return objective, networks


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 8, 8) * 2 - 1, torch.zeros(n, dtype=torch.int64), torch.randn(n, 3))


def second(networks: nn.ModuleDict, role: str, images: Tensor) -> Tensor:
    """A second network assembled by hand, as a module with its own layers put in."""
    whole = mlp.Generator(SPEC, hidden=[8, 8], norm="none") if role == "generator" else None
    whole = whole or mlp.Discriminator(SPEC, hidden=[8, 6])
    own = networks[f"second_{role}"]
    whole.load_state_dict({**networks[role].state_dict(), **dict(zip(own.names, own.parameters(), strict=True))})
    return whole(images)


def moved(networks: nn.ModuleDict) -> None:
    with torch.no_grad():
        for role in ("second_generator", "second_discriminator"):
            for parameter in networks[role].parameters():
                parameter.add_(torch.randn_like(parameter))


def test_each_half_of_a_batch_keeps_its_own_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    (objective, networks), seen, asked = built(), batch(), []
    monkeypatch.setattr(objective, "judge", lambda nets, images, labels: asked.append(labels) or [torch.zeros(4)] * 2)
    objective.discriminator_loss(networks, Batch(seen.real, torch.arange(8), seen.z))
    assert [label.tolist() for label in asked[1]] == [[0, 1, 2, 3], [4, 5, 6, 7]]


@pytest.mark.parametrize(
    ("role", "buffer", "inputs"),
    [
        ("generator", "trunk.3.norm.running_mean", (torch.randn(4, 3), torch.tensor([0, 1, 0, 1]))),
        ("discriminator", "trunk.0.parametrizations.weight.0._u", (torch.rand(4, 1, 8, 8),)),
    ],
    ids=["conditional normalisation", "spectral normalisation"],
)
def test_own_layers_have_their_own_buffers(role: str, buffer: str, inputs: tuple[Tensor, ...]) -> None:
    spec = Spec((1, 8, 8), GaussianPrior(dim=3), classes=2)
    generator = mlp.Generator(spec, hidden=[8, 8], norm="batch", conditioning="batch-norm")
    networks = nn.ModuleDict({"generator": generator, "discriminator": mlp.Discriminator(SPEC)})
    spectral_norm(networks["discriminator"].trunk[0])
    own = CoGAN(own_layers=3).bind(spec, networks)[f"second_{role}"]
    first, kept = networks[role].get_buffer(buffer), own.get_buffer(own.kept[buffer])
    before = first.clone()
    with torch.no_grad():
        for parameter in own.parameters():
            parameter.normal_()
        own.call(networks[role], *inputs)
    assert torch.equal(first, before)
    assert not torch.equal(kept, before)


def test_a_batch_of_one_image_has_no_halves() -> None:
    objective, networks = built()
    with pytest.raises(GanzooError, match="CoGAN halves each batch"):
        objective.discriminator_loss(networks.eval(), batch(1))


def test_edges_are_where_an_image_differs_from_its_dilation() -> None:
    image = torch.full((1, 1, 5, 5), -1.0)
    image[0, 0, 2, 2] = 1
    wanted = torch.full((5, 5), -1.0)
    wanted[1:4, 1:4] = 1
    wanted[2, 2] = -1
    assert torch.equal(edges(image)[0, 0], wanted)
    assert torch.equal(edges(torch.full((1, 1, 4, 4), 0.3)), torch.full((1, 1, 4, 4), -1.0))
    noise = torch.rand(2, 1, 8, 8) * 2 - 1
    assert edges(noise).abs().max() <= 1
    assert torch.equal(negative(noise), -noise)


def test_the_generators_share_all_but_their_last_layer_and_the_discriminators_all_but_their_first() -> None:
    _, networks = built()
    assert networks["second_generator"].names == ["head.weight", "head.bias"]
    assert networks["second_discriminator"].names == ["trunk.0.weight", "trunk.0.bias"]
    _, networks = built(own_layers=2)
    assert networks["second_generator"].names[0].startswith("trunk.2")
    assert networks["second_discriminator"].names[-1].startswith("trunk.2")


def test_a_second_network_is_the_first_with_its_own_layers_put_in() -> None:
    objective, networks = built()
    z = torch.randn(4, 3)
    first, other = objective.pair(networks, z, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(first, other), "they begin as one"
    moved(networks)
    first, other = objective.pair(networks, z, torch.zeros(4, dtype=torch.int64))
    assert torch.equal(first, networks["generator"](z))
    assert torch.equal(other, second(networks, "generator", z))
    assert (first - other).abs().max() > 0.1


def test_pictures_of_progress_show_pairs_of_one_code() -> None:
    objective, networks = built()
    moved(networks)
    shown, _ = draw(objective, networks, 3, seed=5, device=torch.device("cpu"), overview=True)
    z = SPEC.prior.sample(3, torch.Generator().manual_seed(5), torch.device("cpu"))
    with torch.no_grad():
        pairs = torch.stack(objective.pair(networks, z, torch.zeros(3, dtype=torch.int64)), dim=1)
    assert torch.equal(shown, SPEC.modality.from_network(pairs.flatten(0, 1)))
    alone, _ = draw(objective, networks, 3, seed=5, device=torch.device("cpu"))
    assert torch.equal(alone, shown[::2])
    assert not torch.equal(alone, shown[1::2])


@pytest.mark.parametrize("domain", ["edges", "negative"])
def test_the_losses_are_two_games_on_two_halves_of_the_batch(domain: str) -> None:
    objective, networks = built(second=domain)
    moved(networks)
    seen = batch()
    fakes, others = networks["generator"](seen.z), second(networks, "generator", seen.z)
    one, two = networks["discriminator"], lambda images: second(networks, "discriminator", images)
    translated = edges(seen.real[4:]) if domain == "edges" else -seen.real[4:]

    def value(real: Tensor, fake: Tensor) -> Tensor:
        return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()

    losses = objective.discriminator_loss(networks, seen)
    assert torch.allclose(losses["first"], value(one(seen.real[:4]), one(fakes)), atol=1e-5)
    assert torch.allclose(losses["second"], value(two(translated), two(others)), atol=1e-5)
    assert torch.allclose(losses["loss"], losses["first"] + losses["second"])
    wanted = -one(fakes).sigmoid().log().mean() - two(others).sigmoid().log().mean()
    assert torch.allclose(objective.generator_loss(networks, seen)["loss"], wanted, atol=1e-5)


def test_shared_layers_learn_from_both_domains_and_own_layers_from_one() -> None:
    objective, networks = built()
    losses = objective.generator_loss(networks, batch())
    trunk, head = networks["generator"].trunk[0].weight, networks["generator"].head.weight
    own = next(networks["second_generator"].parameters())

    def reached(loss: Tensor) -> list[bool]:
        slopes = torch.autograd.grad(loss, [trunk, head, own], retain_graph=True, allow_unused=True)
        return [slope is not None for slope in slopes]

    assert reached(losses["first"]) == [True, True, False]
    assert reached(losses["second"]) == [True, False, True]
