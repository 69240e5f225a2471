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
# Their losses have no state or train MLPs in other recipes, and their networks are in test_networks.py.
OTHER_LOSSES = (
    *("*-gpu", "baseline-*", "f-gan-[hjprt]*", "relativistic-average-*", "least-squares-mnist", "cdcgan-mnist"),
    *("minibatch-stddev-mnist", "r3gan-resnet-mnist", "sagan-mnist", "sngan-mnist", "stylegan2-mnist"),
)
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
def test_every_role_is_trained_and_each_phase_gives_finite_gradients_to_its_roles_alone(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = ZOO.recipes.get(name)
    assembly = checks.build(entry, ZOO)
    monkeypatch.setattr(checks, "build", lambda entry, zoo: assembly)
    checks.roles(entry, ZOO)
    checks.gradients(entry, ZOO)


@recipes_of_their_own
def test_a_step_in_half_precision_is_finite(name: str) -> None:
    checks.half_precision(ZOO.recipes.get(name), ZOO)


def test_all_are_named_after_their_dataset_scored_during_training_and_cite_their_paper() -> None:
    for name in NAMES:
        recipe = load_recipe(name, ZOO)
        assert recipe.name == name
        assert name.removesuffix("-gpu").endswith(f"-{recipe.dataset.name}")
        assert recipe.evaluate.metrics, name
        assert recipe.evaluate.every_images is not None, name
        assert recipe.evaluate.every_images < recipe.train.images, name
        assert ZOO.recipes.get(name).paper is not None, name


FIRST_PARTY = sorted(
    path.stem for path in Path(ganzoo_plugins.__file__).parent.glob("*/*.yaml") if path.parent.name != "studies"
)


def test_perceptrons_are_named_in_the_summary() -> None:
    """``list`` and the leaderboard show whose networks drew the samples: few losses' papers use ganzoo's ``mlp``."""
    networks = {name: {network.name for network in load_recipe(name, ZOO).networks.values()} for name in FIRST_PARTY}
    summaries = {name: ZOO.recipes.get(name).summary for name in FIRST_PARTY if networks[name] & {"mlp", "pac-mlp"}}
    named = re.compile(r"\b(?:MLP|fully connected)\b")
    assert {name: summary for name, summary in summaries.items() if not named.search(summary)} == {}
