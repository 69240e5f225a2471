"""Plugins with one mistake each: the right check fails with a clear message, and other plugins keep working."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ganzoo_checks.catalogue import CHECKS

BAD = Path(__file__).parents[1] / "bad_plugins"
NAMES = sorted(path.stem.replace("_", "-") for path in BAD.glob("*.py"))
SMALL = ("networks.generator.hidden=[16]", "networks.discriminator.hidden=[16]", "evaluate.metrics=[]")
COMMANDS = (
    ("check", "raises"),
    ("check", "duplicate", "--json"),
    ("check", "hard-code"),
    ("check", "exits"),
    ("check", "bad-metrics", "--json"),
    ("run", "vanilla-mnist", *(word for one in ("train.images=256", *SMALL) for word in ("--set", one)), "--json"),
)
"""What follows ``ganzoo``."""
RUN_CHECKS = """\
import contextlib, io, json, os, sys
from ganzoo_checks import isolation
from ganzoo_checks.catalogue import plugin_checks
from ganzoo_checks.entries import CheckFailed
from ganzoo.cli import main
from ganzoo.registry.loading import load_zoo

found, answers = {}, []
expected, commands, every = map(json.loads, sys.argv[1:])
# In one process, not in one for each plugin.
tested = {*(name for name, checks in expected.items() if "import" in checks), *(words[1] for words in commands)}
imported = isolation.import_problems([plugin for plugin in load_zoo().plugins if plugin.name in tested])
isolation.import_problems = lambda plugins: {plugin.name: imported[plugin.name] for plugin in plugins}
for name, checks in expected.items():
    found[name] = failures = []
    for check in plugin_checks(name, load_zoo()):
        # Imports each in a process of its own: once is enough.
        if check.check not in checks and (check.check == "import" or not every):
            continue
        try:
            check.run()
        except CheckFailed as error:
            failures.append([check.check, str(error)])
for command in commands:
    sys.argv = ["ganzoo", *command]
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            main()
        except SystemExit as ended:
            answers.append((ended.code or 0, out.getvalue(), err.getvalue()))
print(json.dumps([found, answers]), flush=True)
os._exit(0)  # before a plugin prints when the process ends
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
    "upside-down": ("directions", ["loss 'upside-down'", "logit of a real image down", "flip the sign"]),
    "sums": ("batch-size", ["loss 'sums'", "gives the discriminator a different loss for a doubled batch"]),
    "any-option": ("options-types", ["loss 'any-option'", "accepts any value for its option 'slope'"]),
    "weighs-itself": ("weight", ["regularizer 'weighs-itself'", "applies its weight itself"]),
    "no-penalty": ("finite", ["regularizer 'no-penalty'", "has a weight, but no penalty"]),
    "ignores-labels": ("labels", ["generator 'ignores-labels'", "takes labels but ignores them"]),
    "own-seed": ("deterministic", ["generator 'own-seed'", "builds differently from the same seed: weight"]),
    "one-sided": ("roles", ["recipe 'one-sided-mnist'", "no phase trains: generator"]),
    "own-draws": ("deterministic", ["recipe 'own-draws-mnist'", "trains differently from the same seed"]),
    "hard-coded": ("shape", ["discriminator 'hard-coded'", "(2, 3, 32, 32)", "spec.image_shape"]),
    "forgets-mean": ("directions", ["loss 'forgets-mean'", "discriminator a loss of shape (16,)", ".mean()"]),
    "returns-none": ("directions", ["loss 'returns-none'", "the generator a loss of type NoneType"]),
    "cannot-build": ("per-image", ["fails to build for 1x28x28 images: AttributeError", "cannot_build.py, line 13"]),
    "detached": ("input-gradients", ["discriminator 'detached'", "in the backward pass", "Do not detach"]),
    "critic-side": ("finite", ["regularizer 'critic-side' has side = 'critic'", "'generator', 'both'"]),
    "stashes": ("checkpointable", ["tensor in the plain attribute 'regularizers.0.last'", "register_buffer"]),
    "bare-extractor": ("features", ["extractor 'bare-extractor' has shape = None"]),
    "late-domains": ("features", ["'late-domains' has domains = ('mnist',), but its class has ()"]),
    "no-tensor": ("shape", ["augmentation 'no-tensor' returns a tuple, not a tensor"]),
    "listed-features": ("shared-features", ["'listed-features' returns a list as features"]),
    "no-phases": ("roles", ["recipe 'no-phases-mnist' fails to list its phases", "no_phases.py, line 12"]),
    "exits": ("directions", ["loss 'exits' fails on logits", "SystemExit: 0", "exits.py, line 13: `sys.exit(0)`"]),
    "unhashable": (
        "weight",
        ["in the check 'weight': ArithmeticError: no two sides are alike", "unhashable.py, line 10"],
    ),
    "reseeds": ("global-state", ["loss 'reseeds' calls torch.manual_seed(0)"]),
    "required-option": ("options-types", ["accepts any value for its option 'p'"]),
    "bad-metrics": ("score", ["metric 'raises' fails on 128 samples: AttributeError", "bad_metrics.py, line 18"]),
    "label-on-cpu": ("capturable", ["generator 'label-on-cpu'", "torch.eye(self.spec.classes)[label]"]),
    "no-tanh": ("shape", ["generator 'no-tanh' returns values outside [-1, 1] once its weights grow"]),
    "unpaired": ("directions", ["loss 'unpaired'", "TypeError", "real=None, unless the class sets pairs = True"]),
    "rounds": ("shape", ["augmentation 'rounds' passes no gradient on to the images"]),
    "positional": ("options-keyword-only", ["'positional' takes 'factor' by position", "Put `*` before it"]),
    "wrong-trials": ("valid", ["study 'wrong-trials' is invalid", "row 'tuned'", "lrate"]),
    "bad-datasets": ("without-files", ["returns the dataset 'always-train' (train) for its test split"]),
    "bad-penalties": ("finite", ["'no-graph' has a penalty without a gradient for the discriminator", "create_graph"]),
    "bad-objectives": ("capturable", ["recipe 'waits-mnist'", "self.last = losses"]),
    "bad-networks": ("half-precision", ["generator 'copies-features'", "in bfloat16"]),
    "bad-options": ("docstring", ["loss 'bare' has no docstring"]),
    "bad-extractors": (
        "features",
        ["'forgets-weights' gives different features each time it is built", "torch.Generator"],
    ),
}
ALSO = (
    ("global-rng", "import", ["default dtype from torch.float32 to torch.float64"]),
    ("undocumented", "summary", ["'A loss.'"]),
    ("rounds", "shape", ["augmentation 'crops' returns shape (4, 1, 27, 28)"]),
    ("rounds", "capturable", ["augmentation 'crops' fails on a device without values"]),
    ("unpaired", "capturable", ["TypeError", "The device is not to blame: it fails anywhere."]),
    ("own-draws", "deterministic", ["loss 'own-draws'", "different losses from the same seed"]),
    ("detached", "per-image", ["discriminator 'detached'", "in the backward pass"]),
    ("late-domains", "features", ["'domains-as-text' has domains = 'mnist'", "('mnist',)"]),
    ("bad-metrics", "score", ["metric 'not-a-number' gives nan"]),
    ("bad-metrics", "score", ["metric 'random' gives", "for the same samples", "torch.Generator"]),
    ("bad-metrics", "direction", ["metric 'not-a-number' has scale = 'logarithm'", "'count'"]),
    ("bad-metrics", "direction", ["metric 'random' has share_of = 'pixels'", "'real images'"]),
    ("bad-metrics", "class", ["tracker 'printer' is not a Tracker"]),
    ("bad-metrics", "score", ["metric 'centred' changes the features it is given", "values.clone()"]),
    ("bad-metrics", "global-state", ["metric 'seeding' draws from numpy's global generator, or seeds it"]),
    ("global-noise", "draws", ["prior 'on-the-cpu' ignores the device it is given", "device=device"]),
    ("global-noise", "global-state", ["prior 'seeding' draws from random's global generator, or seeds it"]),
    ("bad-datasets", "without-files", ["dataset 'one-split' has", "of its test split in its train split too"]),
    ("bad-datasets", "without-files", ["dataset 'unseeded' returns different samples", "torch.Generator"]),
    ("bad-datasets", "without-files", ["dataset 'other-classes' has different classes in its test split"]),
    ("bad-extractors", "features", ["'plain-tensor' keeps a tensor in the plain attribute 'mean'", "register_buffer"]),
    ("bad-extractors", "features", ["'whole-logits' returned a tensor of type torch.int64"]),
    ("bad-extractors", "features", ["'nan-logits' returned logits that are NaN or infinite"]),
    ("bad-extractors", "features", ["'in-place' changes the images it is given", "images.clone()"]),
    ("bad-extractors", "features", ["'centred' gives an image different features if it is alone in its batch"]),
    ("bad-penalties", "finite", ["'wrong-side' has a penalty without a gradient for the discriminator", "set side to"]),
    ("bad-penalties", "batch-size", ["'summed' has a penalty that grows with the batch", ".mean()"]),
    ("wrong-trials", "valid", ["study 'wrong-quick' is invalid", "train.imags"]),
    ("bad-objectives", "gradients", ["recipe 'trains-both-mnist'", "computes gradients for the frozen discriminator"]),
    ("bad-objectives", "half-precision", ["recipe 'halves-mnist'", "is bfloat16, not float32, under bfloat16"]),
    ("bad-objectives", "checkpointable", ["recipe 'forgets-mnist'", "average"]),
    ("bad-objectives", "used-by-a-recipe", ["loss 'unused' has its own phases, but no recipe uses it"]),
    ("bad-networks", "checkpointable", ["generator 'remembers'", "plain attribute 'mean'"]),
    ("bad-networks", "copyable", ["generator 'locked'", "cannot pickle '_thread.lock' object", "Keep locks"]),
    ("bad-networks", "odd-shape", ["generator 'even'", "(2, 3, 20, 34)"]),
    ("bad-options", "paper", ["loss 'bare' cites no paper and year"]),
    ("bad-options", "lazy", ["regularizer 'never-lazy' has no separate phase with every_steps: 4"]),
    ("bad-options", "signature", ["dataset 'without-folder' cannot be called as factory(split, folder"]),
)
FAILING = [*((name, *expected) for name, expected in EXPECTED.items()), *ALSO]


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


@pytest.fixture(scope="module", params=["expected", pytest.param("every", marks=pytest.mark.full)])
def checked(
    environment: dict[str, str], request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, list[list[str]]], list[tuple[int, str, str]]]:
    """Each failed check and its message, by plugin; and the exit code and output of each of ``COMMANDS``.

    In ``.ci/full`` also of the checks that nobody expects to fail: what is wrong must not make others crash.
    """
    expected = {name: [check for who, check, _ in FAILING if who == name] for name in NAMES}
    done = subprocess.run(
        [sys.executable, "-c", RUN_CHECKS, *map(json.dumps, (expected, COMMANDS, request.param == "every"))],
        cwd=tmp_path_factory.mktemp("work"),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr  # torch would print its own
    failures, answers = json.loads(done.stdout.splitlines()[-1])
    assert len(answers) == len(COMMANDS)
    return failures, answers


@pytest.fixture
def failures(checked: tuple[dict[str, list[list[str]]], Any]) -> dict[str, list[list[str]]]:
    return checked[0]


@pytest.fixture
def answers(checked: tuple[Any, list[tuple[int, str, str]]]) -> list[tuple[int, str, str]]:
    return checked[1]


def test_each_plugin_has_an_expected_failure() -> None:
    assert sorted(EXPECTED) == NAMES


def test_each_check_has_a_plugin_that_fails_it() -> None:
    assert {check.name for check in CHECKS} - {check for _, check, _ in FAILING} == set()


@pytest.mark.parametrize(
    ("name", "check", "words"),
    FAILING,
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_check_says_what_is_wrong(
    failures: dict[str, list[list[str]]], name: str, check: str, words: list[str]
) -> None:
    sentences = [sentence for failed, sentence in failures[name] if failed == check]
    assert any(all(word in sentence for word in words) for sentence in sentences), failures[name]


def test_the_command_prints_failures_and_exits_with_1(answers: list[tuple[int, str, str]]) -> None:
    code, out, err = answers[0]
    assert code == 1
    assert "RuntimeError: a cable is loose" in out
    assert "1 of 1 checks failed." in out
    assert "Traceback" not in out + err


def test_the_command_prints_json(answers: list[tuple[int, str, str]]) -> None:
    code, out, _ = answers[1]
    assert code == 1
    answer = json.loads(out)
    assert (answer["plugin"], answer["checks"]) == ("duplicate", 1)
    (failure,) = answer["failures"]
    assert (failure["thing"], failure["check"]) == ("plugin-duplicate", "loads")
    assert "already registered" in failure["sentence"]


def test_a_plugin_that_exits_fails_like_any_other(answers: list[tuple[int, str, str]]) -> None:
    code, out, err = answers[3]
    assert code == 1
    assert "loss-exits directions: The loss 'exits' fails" in out
    assert "loss-exits capturable" not in out  # it would only repeat that
    assert out.splitlines()[-1].endswith("checks failed, 3 were left out.")
    assert "Traceback" not in out + err


def test_what_a_plugin_prints_is_not_among_the_json(answers: list[tuple[int, str, str]]) -> None:
    code, out, err = answers[4]
    assert code == 1
    assert {failure["thing"] for failure in json.loads(out)["failures"]} >= {"metric-raises", "tracker-printer"}
    assert "scored" in err


def test_an_unknown_plugin_gets_a_suggestion(answers: list[tuple[int, str, str]]) -> None:
    code, out, err = answers[2]
    assert (code, out) == (2, "")
    assert "Did you mean 'hard-coded'?" in err


def test_a_first_party_recipe_trains_beside_all_of_them(answers: list[tuple[int, str, str]]) -> None:
    code, out, err = answers[5]
    assert code == 0, err
    assert json.loads(out)["status"] == "done"
    assert "a cable is loose" in err
    assert "Traceback" not in err
