"""A few steps of every recipe come to what was recorded, as closely as processors agree."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ganzoo import Dataset
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import Zoo

_spec = importlib.util.spec_from_file_location("golden", Path(__file__).with_name("golden.py"))
golden = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(golden)

RECORDED = json.loads(golden.LOSSES.read_text())
TOLERANCES = (1e-2, 0.15)
"""Relative and absolute, at the first log point and later. CPUs add up in different orders, and the first steps of Adam
are as long as its learning rate, however small a gradient is: the path length of stylegan2-mnist-gpu differs most
between two CPUs at the first log point, by more than half of this. ``golden.py compare`` compares bits.
"""


def close_to(name: str, value: float, step: int) -> object:
    """What equals a recorded value within the tolerance of its step."""
    if step > 0:
        return pytest.approx(value, rel=TOLERANCES[1], abs=TOLERANCES[1])
    # A small logit or loss may be the difference of large numbers. A small penalty is not: one that became 0 must fail.
    absolute = TOLERANCES[0]
    if not name.endswith(("_logits", "loss")):
        absolute = min(absolute, 1e-6 + TOLERANCES[1] * abs(value))
    return pytest.approx(value, rel=TOLERANCES[0], abs=absolute)


@pytest.fixture(scope="session")
def dataset_of(zoo: Zoo, mnist: Dataset) -> Callable[[Recipe], Dataset]:
    """The training samples of a recipe, loaded once."""
    known = {"mnist": mnist}

    def find(recipe: Recipe) -> Dataset:
        name = recipe.dataset.name
        if name not in known:
            known[name] = zoo.datasets.get(name).create("train", None, **recipe.dataset.options)
        return known[name]

    return find


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.full if name.endswith("-gpu") else ()) for name in sorted(RECORDED)],
)
def test_losses_and_first_steps_are_those_on_record(name, zoo, dataset_of):
    found, wanted = golden.stepped(name, zoo, dataset_of), RECORDED[name]
    assert found["batch"] == wanted["batch"]
    # Adam's first step is as long as its learning rate times the root of the number of weights, on any processor.
    assert found["moved"] == pytest.approx(wanted["moved"], rel=1e-2, abs=1e-6)
    assert len(found["losses"]) == len(wanted["losses"])
    for step, (got, expected) in enumerate(zip(found["losses"], wanted["losses"], strict=True)):
        assert got == {name: close_to(name, value, step) for name, value in expected.items()}, f"step {step}"


def test_the_command_line_takes_the_same_steps(zoo, dataset_of, tmp_path):
    by_command, by_trainer = golden.trained("vanilla-mnist", tmp_path), golden.stepped("vanilla-mnist", zoo, dataset_of)
    assert by_command["batch"] == by_trainer["batch"]
    assert by_command["losses"] == by_trainer["losses"]


def test_every_recipe_is_on_record():
    assert sorted(golden.names()) == sorted(RECORDED)
