"""docs/tutorial.md, followed to the letter in an environment of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:<!-- file: (?P<file>\S+) -->\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)
# What this machine has is enough, and the network is not asked. pip reads "0" here as --no-build-isolation.
OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_DEPS": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_QUIET": "1"}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """One that sees what this one has installed, with commands that run in it."""
    folder = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    python = folder / "bin" / "python"
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "outer.pth").write_text(f"import site; site.addsitedir({sysconfig.get_path('purelib')!r})\n")
    for command in ("ganzoo", "pip"):
        script = folder / "bin" / command
        script.write_text(f'#!/bin/sh\nexec "{python}" -m {command} "$@"\n')
        script.chmod(0o755)
    return {**os.environ, **OFFLINE, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}


@pytest.mark.full
@pytest.mark.timeout(900)  # installs twice, checks twice and trains, in processes of their own
def test_the_tutorial_works_as_it_is_written(environment: dict[str, str], tmp_path: Path) -> None:
    said = ""
    for block in BLOCK.finditer(PAGE):
        if block["file"]:
            (tmp_path / block["file"]).write_text(block["text"], encoding="utf-8")
        elif block["language"] == "bash":
            command = ["bash", "-euo", "pipefail", "-c", block["text"]]
            done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, (block["text"], done.stdout, done.stderr)
            said += done.stdout
    assert said.count("checks passed") == 2
    assert "tiny-hinge" in said
    (run,) = (tmp_path / "runs").iterdir()
    assert '"done"' in (run / "run.json").read_text(encoding="utf-8")
