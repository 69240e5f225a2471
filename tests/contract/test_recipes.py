"""The checks of ``ganzoo check`` for every registered recipe.

That each resumes to the same bits, optimizers and samplers included, is tests/faults/test_every_recipe_resumes.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path

import pytest
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

import ganzoo_plugins
from ganzoo import Batch, GaussianPrior, Objective, Phase, Spec
from ganzoo.checks import recipes as checks
from ganzoo.checks.toys import SHAPES, take_steps
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo

ZOO = load_zoo()
NAMES = [entry.name for entry in ZOO.recipes]
recipes = pytest.mark.parametrize("name", NAMES)
# Those for a GPU take many seconds each, and half a minute on a CPU that does not multiply in bf16; their networks are
# those of other recipes, only wider.
recipes_that_fit_a_cpu = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.full] if name.endswith("-gpu") else []) for name in NAMES]
)
# Their losses have no state, and their networks train in other recipes too.
OTHER_LOSSES = ("*-gpu", "baseline-mlp-mnist", "f-gan-[hjprt]*", "relativistic-average-*", "least-squares-mnist")
recipes_of_their_own = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.full] if any(fnmatch(name, one) for one in OTHER_LOSSES) else [])
        for name in NAMES
    ],
)
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


@pytest.mark.full  # the device without values in tests/cuda finds the same in every recipe, at its own size
@recipes
@shapes
def test_a_step_never_waits_for_the_device(name: str, shape: tuple[int, int, int]) -> None:
    """Fake tensors have no values: code that reads one, or branches on one, fails."""
    assert checks.capturable(ZOO.recipes.get(name), ZOO, shape) >= 2


def test_a_step_that_waits_would_fail() -> None:
    class Waits(Objective):
        def phases(self) -> list[Phase]:
            return [Phase("generator", ("generator",), self.loss)]

        def loss(self, networks: Mapping[str, nn.Module], batch: Batch) -> dict[str, Tensor]:
            loss = self.generate(networks, batch.z, batch.label).mean()
            return {"loss": loss if loss > 0 else -loss}

    spec = Spec((1, 28, 28), GaussianPrior(dim=4))
    with FakeTensorMode():
        objective = Waits()
        networks = nn.ModuleDict({"generator": ZOO.generators.get("mlp").create(spec)})
        objective.bind(spec, networks)
        with pytest.raises(DataDependentOutputException):
            list(take_steps(objective, networks, spec))


@recipes_that_fit_a_cpu
def test_each_phase_gives_finite_gradients_to_its_roles_alone(name: str) -> None:
    checks.gradients(ZOO.recipes.get(name), ZOO)


@recipes_that_fit_a_cpu
def test_every_role_is_trained_and_sampling_works(name: str) -> None:
    checks.roles(ZOO.recipes.get(name), ZOO)


@recipes_of_their_own
def test_a_step_in_half_precision_is_finite(name: str) -> None:
    checks.half_precision(ZOO.recipes.get(name), ZOO)


@recipes
def test_it_is_named_after_its_dataset_scored_during_training_and_cites_its_paper(name: str) -> None:
    recipe = load_recipe(name, ZOO)
    assert recipe.name == name
    assert recipe.name.removesuffix("-gpu").endswith(f"-{recipe.dataset.name}")
    assert recipe.evaluate.metrics
    assert recipe.evaluate.every_images is not None
    assert recipe.evaluate.every_images < recipe.train.images
    assert ZOO.recipes.get(name).paper is not None


FIRST_PARTY = sorted(
    path.stem for path in Path(ganzoo_plugins.__file__).parent.glob("*/*.yaml") if path.parent.name != "studies"
)


@pytest.mark.parametrize("name", FIRST_PARTY)
def test_perceptrons_are_named_in_the_summary(name: str) -> None:
    """``list`` and the leaderboard show whose networks drew the samples: few losses' papers use ganzoo's ``mlp``."""
    recipe = load_recipe(name, ZOO)
    if any(network.name in ("mlp", "pac-mlp") for network in recipe.networks.values()):
        assert re.search(r"\b(?:MLP|fully connected)\b", ZOO.recipes.get(name).summary)
