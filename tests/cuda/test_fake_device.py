"""Recipes on a CUDA device without values: steps read and copy no values, and checkpoints hold all state."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_device.py")
NO_SYMBOLS = 3
PARTS = 2
ALWAYS = (
    *("aae-mnist", "bigan-mnist", "cogan-mnist", "infogan-mnist", "semi-supervised-mnist", "unrolled-ring"),
    "vae-gan-mnist",
)
"""In every run of the tests: objectives that have phases of their own; of like ones, the one with more phases.

tests/contract runs every other part without values, on its own.
"""
FAULTS = {
    "none": None,
    "cpu-tensor": "Expected all tensors to be on the same device",
    "host-read": "DataDependentOutputException",
    "copy": "a step makes a copy: _to_copy between cpu and cuda in fake_device.py",
    "lost-state": "no checkpoint holds what a step changes: () in fake_device.py",
}


def run(*words):
    done = subprocess.run([sys.executable, str(FAKE), *words], capture_output=True, text=True, check=False)
    if done.returncode == NO_SYMBOLS:
        pytest.skip(f"this build of torch cannot pretend to have a GPU: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def found():
    """What goes wrong in some recipes, captured, and with each fault, in one process."""
    return run(*ALWAYS, "--captured", "--plant", *FAULTS)["recipes"]


@pytest.mark.slow
@pytest.mark.timeout(900)  # half a minute, and more on a busy machine
def test_recipes_are_captured_saved_and_restored_on_it(found):
    assert {name: ways for name, ways in found.items() if name not in FAULTS and any(ways.values())} == {}
    assert set(found) == {*ALWAYS, *FAULTS}


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(1800)  # minutes of one core for both ways; more on a busy machine
@pytest.mark.parametrize("part", range(PARTS))
def test_every_recipe_trains_is_captured_saved_and_restored_on_it(zoo, part):
    names = [entry.name for entry in zoo.recipes][part::PARTS]
    every = run(*names)["recipes"]
    assert {name: ways for name, ways in every.items() if any(ways.values())} == {}
    assert set(every) == set(names)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_eager_and_captured_and_without_one_there_is_none(found, fault):
    sentence = FAULTS[fault]
    assert set(found[fault]) == {"fp32 eager", "bf16 cudagraph"}
    for problems in found[fault].values():
        assert problems == [] if sentence is None else any(sentence in problem for problem in problems), problems
