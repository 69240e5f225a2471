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


@on_logits
def test_losses_are_finite_averages_that_pull_the_logits_the_right_way(entry: Any) -> None:
    """Augmentations and logs rely on large logits meaning real for every loss."""
    checks.on_logits(entry, ZOO)


@pytest.mark.parametrize("entry", ZOO.regularizers, ids=lambda entry: entry.name)
def test_a_penalty_is_a_finite_average_that_ganzoo_weighs_and_makes_lazy(entry: Any) -> None:
    checks.penalty(entry, ZOO)


@pytest.mark.parametrize("entry", ZOO.augmentations, ids=lambda entry: entry.name)
def test_an_augmentation_keeps_the_shape_and_passes_gradients(entry: Any) -> None:
    checks.augmentation(entry, ZOO)


@parts
def test_it_never_waits_for_the_device(entry: Any) -> None:
    checks.capturable(entry, ZOO)


@parts
def test_the_same_seed_and_a_checkpoint_give_the_same_losses(entry: Any) -> None:
    checks.reproducible(entry, ZOO)


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
