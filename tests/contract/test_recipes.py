"""The checks of ``ganzoo check`` for every registered recipe.

That each resumes to the same bits, optimizers and samplers included, is tests/faults/test_every_recipe_resumes.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

import ganzoo_plugins
from ganzoo import Objective
from ganzoo.config.loading import load_recipe, takes_path
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import load_zoo
from ganzoo_checks import training as checks

ZOO = load_zoo()
NAMES = [entry.name for entry in ZOO.recipes]
recipes = pytest.mark.parametrize("name", NAMES)
# Their losses have no state or train MLPs in other recipes, and their networks are in test_networks.py. That each role
# of all but those for a GPU learns as it did is tests/golden.
OTHER_LOSSES = (
    *("*-gpu", "baseline-*", "f-gan-[hjprt]*", "relativistic-average-*", "least-squares-mnist", "cdcgan-mnist"),
    *(
        "minibatch-stddev-mnist",
        "minibatch-discrimination-mnist",
        "r3gan-resnet-mnist",
        "sagan-mnist",
        "sngan-mnist",
        "stylegan2-mnist",
    ),
    *("pix2pix", "pix2pix-[hrs]*", "cyclegan"),
)


@pytest.fixture(scope="module")
def loaded() -> Mapping[str, Recipe]:
    """Every recipe."""
    return {name: load_recipe(name, ZOO) for name in NAMES}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(name, marks=[pytest.mark.full] if any(fnmatch(name, one) for one in OTHER_LOSSES) else [])
        for name in NAMES
    ],
)
def entry(
    request: pytest.FixtureRequest, loaded: Mapping[str, Recipe], few: Callable[[Iterable[str]], dict[str, Any]]
) -> Iterator[Any]:
    """A recipe, of which the checks build narrow networks."""
    recipe = loaded[request.param]
    networks = {
        role: config.model_copy(update={"options": {**config.options, **few(config.options)}})
        for role, config in recipe.networks.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checks, "load_recipe", lambda name, zoo: recipe.model_copy(update={"networks": networks}))
        yield ZOO.recipes.get(request.param)


@pytest.mark.full  # the device without values in tests/cuda finds the same in every recipe, at its own size
@recipes
def test_a_step_never_waits_for_the_device(name: str) -> None:
    """Fake tensors have no values: code that reads one, or branches on one, fails."""
    checks.capturable(ZOO.recipes.get(name), ZOO)


def test_every_role_is_trained_and_each_phase_gives_finite_gradients_to_its_roles_alone(entry: Any) -> None:
    checks.gradients(entry, ZOO)


def test_a_step_in_half_precision_is_finite(entry: Any) -> None:
    checks.half_precision(entry, ZOO)


def test_some_recipe_uses_each_objective_with_its_own_phases(loaded: Mapping[str, Recipe]) -> None:
    with_phases = {one.name for one in ZOO.losses if issubclass(one.factory, Objective)}
    assert with_phases <= {recipe.loss.name for recipe in loaded.values()}


def test_all_are_named_after_their_dataset_scored_during_training_and_cite_their_paper(
    loaded: Mapping[str, Recipe],
) -> None:
    for name, recipe in loaded.items():
        assert recipe.name == name
        assert name.removesuffix("-gpu").endswith(f"-{recipe.dataset.name}") or takes_path(recipe.dataset.name, ZOO)
        assert recipe.evaluate.metrics, name
        assert recipe.evaluate.every_images is not None, name
        assert recipe.evaluate.every_images < recipe.train.images, name
        assert ZOO.recipes.get(name).paper is not None, name


FIRST_PARTY = sorted(
    path.stem for path in Path(ganzoo_plugins.__file__).parent.glob("*/*.yaml") if path.parent.name != "studies"
)


def test_perceptrons_are_named_in_the_summary(loaded: Mapping[str, Recipe]) -> None:
    """``list`` and the leaderboard show whose networks drew the samples: few losses' papers use ganzoo's ``mlp``."""
    networks = {name: {network.name for network in loaded[name].networks.values()} for name in FIRST_PARTY}
    summaries = {name: ZOO.recipes.get(name).summary for name in FIRST_PARTY if networks[name] & {"mlp", "pac-mlp"}}
    named = re.compile(r"\b(?:MLP|fully connected)\b")
    assert {name: summary for name, summary in summaries.items() if not named.search(summary)} == {}
