"""Phases that run in part of the training: one after another instead of alternating."""

from functools import partial

import pytest
import torch

from ganzoo.errors import GanzooError


@pytest.fixture
def begin(trainer):
    return partial(trainer, "train.share_fakes=false", "train.images=160")


def weights(trained):
    return {role: torch.cat([p.flatten() for p in net.parameters()]) for role, net in trained.networks.items()}


def test_each_phase_learns_in_its_own_share_of_training(begin):
    trained = begin("phases={discriminator: {end: 0.4}, generator: {begin: 0.4, end: 0.9}}")
    moved = []
    for _ in range(10):
        before = weights(trained)
        trained.step()
        after = weights(trained)
        moved.append({role for role in before if not torch.equal(before[role], after[role])})
    assert moved == [{"discriminator"}] * 4 + [{"generator"}] * 5 + [set()]


def test_a_phase_that_ends_before_it_begins_is_refused(begin):
    with pytest.raises(GanzooError, match=r"begins the phase 'generator' at 0\.5 of training and ends it at 0\.3"):
        begin("phases={generator: {begin: 0.5, end: 0.3}}")
    with pytest.raises(GanzooError, match=r"phases\.generator\.begin must be less than 1"):
        begin("phases={generator: {begin: 1.0}}")


def test_phases_that_share_fakes_run_in_every_step(begin):
    with pytest.raises(GanzooError, match="shares its fakes with others, so it must run once in every step"):
        begin("train.share_fakes=true", "phases={generator: {begin: 0.5}}")
