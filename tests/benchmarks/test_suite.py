"""``pytest --benchmark-only`` as a person types it, on one recipe: its two tables, and a comparison that can fail."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[2]
SLOW = """
from ganzoo.training.trainer import Trainer

step = Trainer.step

def slow(self):
    for _ in range(20):
        step(self)

Trainer.step = slow
"""


def suite(storage: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The suite's training steps of one recipe, in two short rounds."""
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "COV_"))}
    small = ["benchmarks", "-k", "test_step", "--recipe", "vanilla-mnist", "--device", "cpu", "--quick"]
    # A benchmark may take longer than a test.
    small += ["-p", "no:cacheprovider", "-o", "timeout=0.1"]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "--benchmark-only", *small, f"--benchmark-storage=file://{storage}", *words],
        cwd=ROOT,
        env={**env, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(storage)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_recipe_that_does_not_exist_is_refused() -> None:
    spec = importlib.util.spec_from_file_location("conftest_of_benchmarks", ROOT / "benchmarks" / "conftest.py")
    assert spec is not None
    assert spec.loader is not None
    conftest = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(conftest)
    asked = SimpleNamespace(getoption=lambda name, default: ["vanilla-mnits"])
    with pytest.raises(pytest.UsageError, match="vanilla-mnits matches no recipe. Did you mean 'vanilla-mnist'?"):
        conftest.pytest_configure(asked)


@pytest.mark.full
@pytest.mark.timeout(600)
def test_both_tables_have_the_same_numbers_and_a_slowdown_fails_the_comparison(tmp_path: Path) -> None:
    (tmp_path / "planted.py").write_text(SLOW)
    done = suite(tmp_path, "--benchmark-save=before", f"--benchmark-json={tmp_path / 'before.json'}")
    assert done.returncode == 0, done.stdout
    measured = json.loads((tmp_path / "before.json").read_text())["benchmarks"]
    assert "test_step[vanilla-mnist-eager-fp32]" in {one["name"] for one in measured}
    # The table of times and the one of images/s are about the same work, and so in the same order.
    assert {one["extra_info"]["images"] for one in measured} == {2_560}
    lines = [line.split() for line in done.stdout.splitlines()]
    for one in measured:
        rate = 2_560 / one["stats"]["median"]
        precision = one["extra_info"]["precision"]
        (row,) = [line for line in lines if line[:3] == ["vanilla-mnist", "eager", precision]]
        assert row[3] == f"{rate:,.0f}"

    # A busy machine may take five times as long for the same steps, but not for twenty times as many.
    compared = ("-k", "test_step and fp32", "--benchmark-compare", "--benchmark-compare-fail=min:400%")
    done = suite(tmp_path, *compared)
    assert done.returncode == 0, done.stdout
    done = suite(tmp_path, *compared, "-p", "planted")
    assert done.returncode != 0
    assert "Performance has regressed" in done.stdout + done.stderr
