"""Phases that run in part of the training: one after another instead of alternating."""

import pytest
import torch

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import load_zoo
from ganzoo.training.trainer import Trainer

SMALL = [
    "networks.generator.hidden=[32, 32]",
    "networks.discriminator.hidden=[16]",
    "train.batch_size=16",
    "train.precision=fp32",
    "train.share_fakes=false",
    "train.images=160",
]


def trainer(mnist, *overrides):
    zoo = load_zoo()
    return Trainer(load_recipe("vanilla-mnist", zoo, [*SMALL, *overrides]), zoo, dataset=mnist)


def weights(trained):
    return {role: torch.cat([p.flatten() for p in net.parameters()]) for role, net in trained.networks.items()}


def test_each_phase_learns_in_its_own_share_of_training(mnist):
    trained = trainer(mnist, "phases={discriminator: {end: 0.4}, generator: {begin: 0.4, end: 0.9}}")
    moved = []
    for _ in range(10):
        before = weights(trained)
        trained.step()
        after = weights(trained)
        moved.append({role for role in before if not torch.equal(before[role], after[role])})
    assert moved == [{"discriminator"}] * 4 + [{"generator"}] * 5 + [set()]


def test_shares_refer_to_the_length_of_training(mnist):
    trained = trainer(mnist, "phases={generator: {begin: 0.5}}", "train.images=32")
    before = weights(trained)["generator"]
    trained.step()
    assert torch.equal(weights(trained)["generator"], before)
    trained.step()
    assert not torch.equal(weights(trained)["generator"], before)


def test_a_phase_that_ends_before_it_begins_is_refused(mnist):
    with pytest.raises(GanzooError, match=r"begins the phase 'generator' at 0\.5 of training and ends it at 0\.3"):
        trainer(mnist, "phases={generator: {begin: 0.5, end: 0.3}}")
    with pytest.raises(GanzooError, match=r"phases\.generator\.begin must be less than 1"):
        trainer(mnist, "phases={generator: {begin: 1.0}}")


def test_phases_that_share_fakes_run_in_every_step(mnist):
    with pytest.raises(GanzooError, match="shares its fakes with others and so must run once in every step"):
        trainer(mnist, "train.share_fakes=true", "phases={generator: {begin: 0.5}}")
