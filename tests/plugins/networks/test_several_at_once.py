"""What judges several images at once: minibatch discrimination against its equation, and packs."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks import dcgan, mlp
from ganzoo_plugins.networks.minibatch_discrimination import Convolutional, MinibatchDiscrimination, Perceptron
from ganzoo_plugins.networks.pacgan import Packed, convolutional, perceptron


def test_a_feature_is_the_mean_closeness_of_the_others() -> None:
    layer = MinibatchDiscrimination(2, kernels=2, dimensions=2)
    with torch.no_grad():  # M of the features (a, b): the rows (a, b) and (2a, 0)
        layer.projection.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 0.0], [0.0, 0.0]]))
    features = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 0.5]])
    out = layer(features)
    assert torch.equal(out[:, :2], features)
    e = math.exp
    # Distances: 1, 0.5 and 1.5 in the first row; 2, 0 and 2 in the second.
    expected = [[e(-1) + e(-0.5), e(-2) + 1], [e(-1) + e(-1.5), 2 * e(-2)], [e(-0.5) + e(-1.5), 1 + e(-2)]]
    torch.testing.assert_close(out[:, 2:], torch.tensor(expected) / 2)


def test_a_collapsed_batch_is_as_close_as_can_be_and_a_single_sample_has_no_others() -> None:
    layer = MinibatchDiscrimination(3, kernels=30, dimensions=5)
    assert torch.equal(layer(torch.randn(1, 3).expand(8, -1))[:, 3:], torch.ones(8, 30))
    assert torch.equal(layer(torch.randn(1, 3))[:, 3:], torch.zeros(1, 30))


def test_first_and_second_derivatives_are_right() -> None:
    layer = MinibatchDiscrimination(3, kernels=2, dimensions=2).double()
    features = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, features)
    assert torch.autograd.gradgradcheck(layer, features)


def test_half_precise_features_are_compared_in_float32() -> None:
    layer, features = MinibatchDiscrimination(3, kernels=2, dimensions=5).bfloat16(), torch.randn(5, 3).bfloat16()
    found = layer(features)
    assert found.dtype == torch.bfloat16
    rows = layer.projection(features).float().view(5, 2, 5)
    distance = (rows[:, None] - rows[None]).abs().sum(3)
    torch.testing.assert_close(found[:, 3:], (((-distance).exp().sum(1) - 1) / 4).bfloat16())


@pytest.mark.parametrize(
    ("plain", "network", "options"),
    [
        (mlp.Discriminator, Perceptron, {"hidden": [8, 8]}),
        (dcgan.Discriminator, Convolutional, {"width": 4, "norm": "none"}),
    ],
)
def test_a_discriminator_shows_it_to_its_head(plain, network, options) -> None:
    spec = Spec((1, 28, 28), GaussianPrior(dim=8))
    without, shown = plain(spec, **options), network(spec, **options)
    assert shown.feature_width == without.feature_width + 100
    images = torch.randn(4, 1, 28, 28)
    same = images[:1].expand(4, -1, -1, -1)
    assert torch.allclose(without(images)[0], without(same)[0], atol=1e-5)
    assert not torch.allclose(shown(images)[0], shown(same)[0], atol=1e-5), "what the others are makes a difference"
    assert shown.head(shown.features(images)).shape == (4,)


SPEC = Spec((2, 8, 8), GaussianPrior(dim=3))


def test_a_pack_is_its_samples_one_behind_the_other() -> None:
    network, images = perceptron(SPEC, packing=3, hidden=[16]), torch.randn(6, 2, 8, 8)
    # Samples 0, 2, 4 are one pack, and 1, 3, 5 the other.
    packs = torch.stack([torch.cat([images[i], images[i + 2], images[i + 4]]) for i in (0, 1)])
    torch.testing.assert_close(network(images), network.discriminator(packs).repeat(3))


@pytest.mark.parametrize(
    ("build", "plain"),
    [(perceptron, mlp.Discriminator(SPEC)), (convolutional, dcgan.Discriminator(SPEC, norm="none"))],
)
def test_packs_of_one_are_the_network_itself(build: type[Packed], plain: torch.nn.Module) -> None:
    network, images = build(SPEC, packing=1, norm="none"), torch.randn(5, 2, 8, 8)  # type: ignore[call-arg, arg-type]
    network.discriminator.load_state_dict(plain.state_dict())
    torch.testing.assert_close(network(images), plain(images))


def test_a_sample_s_logit_depends_on_its_pack_and_on_nothing_else() -> None:
    network, images = convolutional(SPEC, packing=2, width=4, norm="none"), torch.randn(8, 2, 8, 8)
    before = network(images)
    images[1] += 1
    changed = (network(images) - before).abs() > 1e-6
    assert changed.tolist() == [False, True, False, False, False, True, False, False]


@pytest.mark.parametrize("n", [1, 2, 5, 7])
def test_any_batch_has_a_logit_for_each_sample(n: int) -> None:
    images = torch.randn(n, 2, 8, 8)
    logits = perceptron(SPEC, packing=3, hidden=[16])(images)
    assert logits.shape == (n,)
    assert logits.isfinite().all()
