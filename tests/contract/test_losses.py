"""The checks of ``ganzoo check`` for every registered loss, regularizer and augmentation."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo import AdversarialLoss, Objective
from ganzoo.checks import losses as checks
from ganzoo.config.loading import load_recipe
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
def test_a_fooled_discriminator_is_corrected_and_a_losing_generator_raises_its_logit(name: str) -> None:
    """Augmentations and logs rely on large logits meaning real for every loss."""
    checks.directions(ZOO.losses.get(name))


@on_logits
def test_a_loss_does_not_depend_on_the_batch_size(name: str) -> None:
    checks.batch_size(ZOO.losses.get(name))


def test_some_recipe_uses_each_objective_with_its_own_phases() -> None:
    with_phases = {name for name, loss in LOSSES.items() if isinstance(loss, Objective)}
    used = {load_recipe(entry.name, ZOO).loss.name for entry in ZOO.recipes}
    assert with_phases <= used


@terms
def test_a_penalty_is_a_finite_scalar_with_finite_gradients(entry: Any) -> None:
    checks.penalty(entry)


@terms
def test_a_penalty_does_not_grow_with_the_batch(entry: Any) -> None:
    checks.averaged(entry)


@terms
def test_ganzoo_applies_the_weight(entry: Any) -> None:
    checks.weight(entry)


@lazy
def test_it_can_be_lazy(entry: Any) -> None:
    checks.lazy(entry)


@regularizers
def test_a_regularizer_without_a_weight_adds_no_term(entry: Any) -> None:
    losses, _ = checks.run_phase(entry)
    assert (entry.name in losses) == checks.is_term(entry)


@pytest.mark.parametrize("entry", ZOO.augmentations, ids=lambda entry: entry.name)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)
def test_an_augmentation_keeps_the_shape_and_passes_gradients(entry: Any, shape: tuple[int, int, int]) -> None:
    checks.augmentation_at(entry, shape)


@parts
def test_it_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry)


@parts
def test_a_checkpoint_restores_its_state(entry: Any) -> None:
    checks.round_trip(entry)
