"""What every registered loss, regularizer and augmentation must do; the checks themselves are ``ganzoo check``'s."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo import AdversarialLoss, Objective
from ganzoo.checks import losses as checks
from ganzoo.recipes.loading import load_recipe
from ganzoo.registry.loading import load_zoo

ZOO = load_zoo()
LOSSES = {entry.name: entry.create(**entry.check({})) for entry in ZOO.losses}
on_logits = pytest.mark.parametrize("name", [n for n, loss in LOSSES.items() if isinstance(loss, AdversarialLoss)])
ON_LOGITS = [entry for entry in ZOO.losses if isinstance(LOSSES[entry.name], AdversarialLoss)]
PARTS = [*ON_LOGITS, *ZOO.regularizers, *ZOO.augmentations]
parts = pytest.mark.parametrize("entry", PARTS, ids=lambda entry: f"{entry.kind}-{entry.name}")
regularizers = pytest.mark.parametrize("entry", ZOO.regularizers, ids=lambda entry: entry.name)
TERMS = [entry for entry in ZOO.regularizers if checks.is_term(entry)]
terms = pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry.name)
lazy = pytest.mark.parametrize("entry", [e for e in TERMS if checks.is_lazy(e)], ids=lambda entry: entry.name)


@on_logits
@pytest.mark.parametrize("size", checks.SIZES)
def test_losses_are_finite_scalars_with_finite_gradients(name: str, size: float) -> None:
    checks.finite_at(ZOO.losses.get(name), size)


@on_logits
def test_a_fooled_discriminator_is_pushed_right_and_a_losing_generator_up(name: str) -> None:
    """Large logits mean real, for every loss: augmentations and logs rely on it."""
    checks.directions(ZOO.losses.get(name))


@on_logits
def test_a_loss_does_not_depend_on_the_batch_size(name: str) -> None:
    checks.batch_size(ZOO.losses.get(name))


def test_every_objective_with_phases_of_its_own_is_tried_in_a_recipe() -> None:
    with_phases = {name for name, loss in LOSSES.items() if isinstance(loss, Objective)}
    tried = {load_recipe(entry.name, ZOO).loss.name for entry in ZOO.recipes}
    assert with_phases <= tried


@terms
def test_a_penalty_is_a_finite_scalar_and_so_are_its_gradients(entry: Any) -> None:
    checks.penalty(entry)


@terms
def test_the_weight_is_ganzoo_s_to_apply(entry: Any) -> None:
    checks.weight(entry)


@lazy
def test_it_can_be_lazy(entry: Any) -> None:
    checks.lazy(entry)


@regularizers
def test_what_has_no_weight_adds_no_term(entry: Any) -> None:
    losses, _ = checks.turn(entry)
    assert (entry.name in losses) == checks.is_term(entry)


@pytest.mark.parametrize("entry", ZOO.augmentations, ids=lambda entry: entry.name)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)
def test_an_augmentation_keeps_the_shape_and_lets_gradients_through(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.augmented_at(entry, shape)


@parts
def test_it_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry)


@parts
def test_its_state_survives_a_round_trip(entry: Any) -> None:
    checks.round_trip(entry)
