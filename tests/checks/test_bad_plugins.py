"""Plugins with one mistake each: the right check fails with a clear message, and other plugins keep working."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BAD = Path(__file__).parents[1] / "bad_plugins"
NAMES = sorted(path.stem.replace("_", "-") for path in BAD.glob("*.py"))
RUN_CHECKS = """\
import json, sys
from ganzoo.checks.catalogue import plugin_checks
from ganzoo.checks.entries import CheckFailed
from ganzoo.registry.loading import load_zoo

found = {}
for name in sys.argv[1:]:
    found[name] = failures = []
    for check in plugin_checks(name, load_zoo()):
        # Imports each in a process of its own: once is enough.
        if check.check == "import" and name != "global-rng":
            continue
        try:
            check.run()
        except CheckFailed as error:
            failures.append([check.check, str(error)])
print(json.dumps(found))
"""

# For each plugin, a check that fails and parts of its message.
EXPECTED = {
    "raises": ("loads", ["'raises'", "RuntimeError: a cable is loose"]),
    "nothing": ("registers", ["'nothing' registers nothing"]),
    "wrong-shape": ("shape", ["discriminator 'wrong-shape'", "shape (2, 1), not (2,)"]),
    "nan-loss": ("finite", ["loss 'nan-loss'", "a loss of inf", "logsigmoid"]),
    "item-in-loss": ("capturable", ["loss 'item-in-loss'", "self.last = loss.item()", "item_in_loss.py, line 11"]),
    "branches": ("capturable", ["regularizer 'branches'", "if gap > 0:", "torch.where"]),
    "stays-on-cpu": (
        "capturable",
        ["loss 'stays-on-cpu'", "meta", "weights * (fake - real)", "device of the inputs"],
    ),
    # In line 12, where the number is copied; before torch 2.15 only in 13, where it meets tensors on the device.
    "copies": ("capturable", ["loss 'copies'", "copies.py, line 1", "device of the inputs"]),
    "loses-state": ("checkpointable", ["loss 'loses-state'", "plain attribute 'loss.average'", "register_buffer"]),
    "global-rng": ("global-state", ["loss 'global-rng'", "torch.manual_seed(0)"]),
    "global-noise": ("draws", ["prior 'global-noise'", "draw from its generator alone", "generator=generator"]),
    "undocumented": ("options-documented", ["loss 'undocumented'", "does not document its options: slope"]),
    "duplicate": ("loads", ["'duplicate'", "loss 'non-saturating'", "already registered"]),
    "frozen": ("gradients", ["generator 'frozen'", "no gradient: spare.weight, spare.bias"]),
    "normalised": ("per-image", ["discriminator 'normalised'", "sets per_image", "batch normalisation"]),
    "unknown-name": ("valid", ["non-saturatin", "Did you mean 'non-saturating'?"]),
    "hard-coded": ("shape", ["discriminator 'hard-coded'", "(2, 3, 32, 32)", "spec.image_shape"]),
}
ALSO = {
    "global-rng": ("import", ["default dtype from torch.float32 to torch.float64"]),
    "undocumented": ("summary", ["'A loss.'"]),
}


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """An environment in which all of them are installed, as modules and package metadata."""
    site = tmp_path_factory.mktemp("site")
    for name in NAMES:
        metadata = site / f"{name.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[ganzoo]\n{name} = {name.replace('-', '_')}\n")
    path = os.pathsep.join([str(site), str(BAD), *filter(None, [os.environ.get("PYTHONPATH")])])
    return {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "200"}


def run_python(environment: dict[str, str], *command: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *map(str, command)], env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture(scope="module")
def failures(environment: dict[str, str]) -> dict[str, list[list[str]]]:
    """Each failed check and its message, by plugin."""
    done = run_python(environment, "-c", RUN_CHECKS, *NAMES)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_each_plugin_has_an_expected_failure() -> None:
    assert sorted(EXPECTED) == NAMES


@pytest.mark.parametrize(
    ("name", "check", "words"),
    [(name, *expected) for table in (EXPECTED, ALSO) for name, expected in table.items()],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_check_says_what_is_wrong(
    failures: dict[str, list[list[str]]], name: str, check: str, words: list[str]
) -> None:
    sentences = [sentence for failed, sentence in failures[name] if failed == check]
    assert any(all(word in sentence for word in words) for sentence in sentences), failures[name]


def test_the_command_prints_failures_and_exits_with_1(environment: dict[str, str]) -> None:
    done = run_python(environment, "-m", "ganzoo", "check", "wrong-shape")
    assert done.returncode == 1
    assert "shape (2, 1), not (2,)" in done.stdout
    assert "checks failed" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


def test_the_command_prints_json(environment: dict[str, str]) -> None:
    done = run_python(environment, "-m", "ganzoo", "check", "duplicate", "--json")
    assert done.returncode == 1
    answer = json.loads(done.stdout)
    assert (answer["plugin"], answer["checks"]) == ("duplicate", 1)
    (failure,) = answer["failures"]
    assert (failure["thing"], failure["check"]) == ("plugin-duplicate", "loads")
    assert "already registered" in failure["sentence"]


def test_an_unknown_plugin_gets_a_suggestion(environment: dict[str, str]) -> None:
    done = run_python(environment, "-m", "ganzoo", "check", "hard-code")
    assert done.returncode == 2
    assert "Did you mean 'hard-coded'?" in done.stderr


def test_a_first_party_recipe_trains_beside_all_of_them(environment: dict[str, str], tmp_path: Path) -> None:
    small = ["networks.generator.hidden=[16]", "networks.discriminator.hidden=[16]", "evaluate.samples=256"]
    changes = [word for change in ["train.images=1000", *small] for word in ("--set", change)]
    done = run_python(environment, "-m", "ganzoo", "run", "vanilla-mnist", *changes, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "done"
    assert "a cable is loose" in done.stderr
    assert "Traceback" not in done.stderr
