"""How long a command takes to answer, from a cold start of the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

GANZOO = Path(sys.executable).with_name("ganzoo")


@pytest.mark.parametrize(("command", "answer"), [("--help", "Usage"), ("list", "vanilla-mnist")])
def test_startup(benchmark: BenchmarkFixture, command: str, answer: str) -> None:
    def ask() -> str:
        return subprocess.run([GANZOO, command], check=True, capture_output=True, text=True).stdout

    assert answer in benchmark.pedantic(ask, rounds=5, warmup_rounds=1)
