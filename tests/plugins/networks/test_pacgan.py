"""PacGAN: what is judged at once, and that means over logits stay means over packs."""

from __future__ import annotations

import pytest
import torch

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks import dcgan, mlp
from ganzoo_plugins.networks.pacgan import Packed, convolutional, perceptron

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
