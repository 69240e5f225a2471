"""Every recipe on a CUDA device without values: in a step nothing is read or copied, and nothing of it is forgotten."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAKE = Path(__file__).with_name("fake_device.py")
NO_SYMBOLS = 3
FAULTS = {
    "cpu-tensor": "Expected all tensors to be on the same device",
    "host-read": "DataDependentOutputException",
    "copy": "a step makes a copy: _to_copy between cpu and cuda in fake_device.py",
    "lost-state": "no checkpoint holds what a step changes: () in fake_device.py",
}


def run(*words):
    done = subprocess.run([sys.executable, "-P", str(FAKE), *words], capture_output=True, text=True, check=False)
    if done.returncode == NO_SYMBOLS:
        pytest.skip(f"this build of torch cannot pretend to have a GPU: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode in (0, 1), done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@pytest.mark.timeout(1800)  # a minute and a half of one core; more on a busy machine
def test_every_recipe_trains_is_captured_saved_and_restored_on_it(zoo):
    found = run()
    wrong = {name: ways for name, ways in found["recipes"].items() if any(ways.values())}
    assert wrong == {}
    assert set(found["recipes"]) == {entry.name for entry in zoo.recipes}
    assert found["seconds"] < 180, "twice what it may take"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found_eager_and_captured(fault):
    ways = run("vanilla-mnist", "--plant", fault)["recipes"]["vanilla-mnist"]
    assert set(ways) == {"fp32 eager", "bf16 cudagraph"}
    for problems in ways.values():
        assert any(FAULTS[fault] in problem for problem in problems), problems


def test_without_a_fault_the_same_recipe_has_none():
    assert run("vanilla-mnist", "--swap")["recipes"]["vanilla-mnist"] == {"bf16 eager": [], "fp32 cudagraph": []}
