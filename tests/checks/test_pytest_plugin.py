"""``pytest --ganzoo-plugin NAME`` in a folder without tests; in child processes where the process matters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import ganzoo_checks.contract  # noqa: F401 - pytester forgets what is imported first within it, and torch loads only once

pytest_plugins = "pytester"
WORDS = "summary or docstring"
LAZY = "import pytest, sys; pytest.main(['-q']); sys.exit('torch' in sys.modules)"


def pytest_in(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.usefixtures("zoo")
def test_each_check_is_a_test(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess("--ganzoo-plugin", "hinge", "-k", WORDS)
    assert done.ret == 0
    done.assert_outcomes(passed=3)  # a summary of the loss and of its recipe, a docstring of the loss


@pytest.mark.full
def test_each_check_is_a_test_of_some_worker(tmp_path: Path) -> None:
    done = pytest_in(tmp_path, "--ganzoo-plugin", "hinge", "-k", WORDS, "-n", "2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "3 passed" in done.stdout


@pytest.mark.usefixtures("zoo")
def test_an_unknown_plugin_gets_a_suggestion(pytester: pytest.Pytester) -> None:
    done = pytester.runpytest_inprocess("--ganzoo-plugin", "hinges")
    assert done.ret == pytest.ExitCode.USAGE_ERROR
    assert "Did you mean 'hinge'?" in done.stderr.str()


def test_without_the_option_nothing_heavy_is_imported(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    done = subprocess.run([sys.executable, "-c", LAZY], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout
