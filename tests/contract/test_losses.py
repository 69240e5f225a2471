"""The checks of ``ganzoo check`` for every registered loss, regularizer and augmentation."""

from __future__ import annotations

from typing import Any

import pytest

from ganzoo import Objective
from ganzoo.registry.loading import load_zoo
from ganzoo_checks import training as checks

ZOO = load_zoo()
ON_LOGITS = [entry for entry in ZOO.losses if not issubclass(entry.factory, Objective)]
on_logits = pytest.mark.parametrize("entry", ON_LOGITS, ids=lambda entry: entry.name)
PARTS = [*ON_LOGITS, *ZOO.regularizers, *ZOO.augmentations]
parts = pytest.mark.parametrize("entry", PARTS, ids=lambda entry: f"{entry.kind}-{entry.name}")
regularizers = pytest.mark.parametrize("entry", ZOO.regularizers, ids=lambda entry: entry.name)
TERMS = [entry for entry in ZOO.regularizers if "weight" in entry.options.types]
terms = pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry.name)
lazy = pytest.mark.parametrize(
    "entry", [e for e in TERMS if "every_steps" in e.options.types], ids=lambda entry: entry.name
)


@on_logits
def test_losses_are_finite_scalars_with_finite_gradients(entry: Any) -> None:
    checks.finite(entry, ZOO)


@on_logits
def test_a_fooled_discriminator_is_corrected_and_a_losing_generator_raises_its_logit(entry: Any) -> None:
    """Augmentations and logs rely on large logits meaning real for every loss."""
    checks.directions(entry, ZOO)


@on_logits
def test_a_loss_does_not_depend_on_the_batch_size(entry: Any) -> None:
    checks.batch_size(entry, ZOO)


@regularizers
def test_a_penalty_is_a_finite_scalar_with_finite_gradients_and_without_a_weight_there_is_none(entry: Any) -> None:
    checks.penalty(entry, ZOO)


@terms
def test_a_penalty_does_not_grow_with_the_batch(entry: Any) -> None:
    checks.averaged(entry, ZOO)


@terms
def test_ganzoo_applies_the_weight(entry: Any) -> None:
    checks.weight(entry, ZOO)


@lazy
def test_it_can_be_lazy(entry: Any) -> None:
    checks.lazy(entry, ZOO)


@pytest.mark.parametrize("entry", ZOO.augmentations, ids=lambda entry: entry.name)
def test_an_augmentation_keeps_the_shape_and_passes_gradients(entry: Any) -> None:
    checks.augmentation(entry, ZOO)


@parts
def test_it_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry, ZOO)


@parts
def test_a_checkpoint_restores_its_state(entry: Any) -> None:
    checks.checkpointable(entry, ZOO)


@pytest.mark.parametrize(
    ("entry", "values"),
    [
        (ZOO.regularizers.get("lecam"), {"weight": 0.3, "decay": 0.99}),
        (ZOO.augmentations.get("ada"), {"target": 0.6, "images": 500_000, "interval": 4}),
        (ZOO.regularizers.get("dragan"), {"strength": 0.5}),
        (ZOO.regularizers.get("top-k"), {"share": 0.5, "decay": 0.99, "images": 60_000}),
        (
            ZOO.augmentations.get("diffaugment"),
            {"shift": 0.125, "window": 0.5, "policy": ("color", "translation", "cutout")},
        ),
    ],
    ids=lambda value: getattr(value, "name", ""),
)
def test_defaults_that_only_studies_use_are_the_papers(entry: Any, values: dict[str, Any]) -> None:
    assert entry.options.defaults.items() >= values.items()
