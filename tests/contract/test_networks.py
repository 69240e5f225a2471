"""What every registered network must do, whoever wrote it."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo import GaussianPrior, Spec
from ganzoo.plugins import load_zoo
from ganzoo.registry import NETWORK_KINDS, Entry

ENTRIES = [entry for kind in NETWORK_KINDS for entry in load_zoo().registry(kind)]
networks = pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.kind}-{entry.name}")
shapes = pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)


def build(entry: Entry[nn.Module], shape: tuple[int, int, int], classes: int = 0) -> tuple[nn.Module, Spec]:
    spec = Spec(*shape, GaussianPrior(dim=16), classes)
    return entry.create(spec, **entry.check({})), spec


def inputs(entry: Entry[nn.Module], spec: Spec, n: int = 2) -> Tensor:
    return torch.randn(n, spec.latent) if entry.kind == "generator" else torch.rand(n, *spec.image_shape) * 2 - 1


def expected_shape(entry: Entry[nn.Module], spec: Spec, n: int = 2) -> tuple[int, ...]:
    return {"generator": (n, *spec.image_shape), "discriminator": (n,), "encoder": (n, spec.latent)}[entry.kind]


def takes_label(network: nn.Module) -> bool:
    return len(inspect.signature(network.forward).parameters) >= 2


@networks
@shapes
def test_the_output_has_the_shape_and_range_of_its_kind(entry: Any, shape: tuple[int, int, int]) -> None:
    network, spec = build(entry, shape)
    out = network(inputs(entry, spec))
    assert tuple(out.shape) == expected_shape(entry, spec)
    assert out.dtype == torch.float32
    assert torch.isfinite(out).all()
    if entry.kind == "generator":
        assert out.abs().max() <= 1


@networks
@shapes
def test_every_parameter_gets_a_finite_gradient(entry: Any, shape: tuple[int, int, int]) -> None:
    network, spec = build(entry, shape)
    out = network(inputs(entry, spec))
    (out * torch.randn_like(out)).sum().backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert not without, f"no gradient for {without}"
    broken = [name for name, p in network.named_parameters() if not torch.isfinite(p.grad).all()]
    assert not broken, f"no finite gradient for {broken}"
    assert sum(p.grad.abs().sum() for p in network.parameters()) > 0


@networks
def test_gradients_reach_the_input(entry: Any) -> None:
    network, spec = build(entry, (1, 28, 28))
    given = inputs(entry, spec).requires_grad_()
    out = network(given)
    (out * torch.randn_like(out)).sum().backward()
    assert given.grad is not None
    assert (given.grad.abs().flatten(1).sum(1) > 0).all()


@networks
def test_labels_are_taken_or_there_is_no_place_for_them(entry: Any) -> None:
    network, spec = build(entry, (1, 28, 28), classes=10)
    if not takes_label(network):
        pytest.skip("an unconditional network; a conditional recipe that names it is refused")
    network.eval()
    same = inputs(entry, spec, 1).repeat(10, *[1] * (3 if entry.kind != "generator" else 1))
    out = network(same, torch.arange(10))
    assert tuple(out.shape) == expected_shape(entry, spec, 10)
    assert not torch.allclose(out[0], out[1], atol=1e-7), "the label changes nothing"


@networks
def test_the_state_survives_a_round_trip(entry: Any) -> None:
    first, spec = build(entry, (1, 28, 28))
    second, _ = build(entry, (1, 28, 28))
    given = inputs(entry, spec, 4)
    first(given)  # moves the running averages, where there are any
    first.eval()
    second.eval()
    assert not torch.equal(first(given), second(given))
    second.load_state_dict(first.state_dict())
    assert torch.equal(first(given), second(given))


@networks
def test_one_seed_gives_one_network(entry: Any) -> None:
    built = []
    for _ in range(2):
        torch.manual_seed(3)
        built.append(build(entry, (1, 28, 28))[0].state_dict())
    assert all(torch.equal(tensor, built[1][name]) for name, tensor in built[0].items())


@networks
def test_half_precision_arithmetic_works(entry: Any) -> None:
    network, spec = build(entry, (1, 28, 28))
    with torch.autocast("cpu", torch.bfloat16):
        out = network(inputs(entry, spec))
    out.float().sum().backward()
    assert torch.isfinite(out).all()
    assert all(torch.isfinite(p.grad).all() for p in network.parameters())


@pytest.mark.parametrize("entry", load_zoo().discriminators, ids=lambda entry: entry.name)
@pytest.mark.parametrize("classes", [0, 10])
def test_a_discriminator_that_shares_features_is_its_head_on_them(entry: Any, classes: int) -> None:
    network, spec = build(entry, (1, 28, 28), classes)
    if not hasattr(network, "features"):
        pytest.skip("shares no features")
    network.eval()
    images = inputs(entry, spec)
    condition = (torch.tensor([3, 7]),) if classes else ()
    features = network.features(images, *condition)
    assert features.shape == (2, network.feature_width)
    assert torch.equal(network.head(features, *condition), network(images, *condition))
