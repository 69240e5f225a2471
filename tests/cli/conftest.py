"""What the command's tests share."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> Iterator[None]:
    """The width of an interval is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganzoo.evaluation.intervals.ROUNDS", 3)
        yield


@pytest.fixture(scope="session")
def invoke() -> Callable[..., Any]:
    """Run a command without `main` around it, so that its errors are raised: what it printed."""
    from ganzoo.cli import app

    def command(*words: object) -> Any:
        result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result

    return command


@pytest.fixture
def done(call: Call) -> Callable[..., tuple[str, str]]:
    """Run a command that ends well: its standard output and standard error."""

    def command(*words: object) -> tuple[str, str]:
        code, out, err = call(*words)
        assert code == 0, err
        return out, err

    return command


@pytest.fixture
def refused(call: Call) -> Callable[..., str]:
    """Run a command that refuses its arguments: what it says."""

    def command(*words: object) -> str:
        code, out, err = call(*words)
        assert (code, out) == (2, "")
        return err

    return command


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install version 1.0 of a package with one module, and its entry points of a group."""

    def package(name: str, module: str, group: str, **entries: str) -> None:
        site = tmp_path / "site"
        described = site / f"{name}-1.0.dist-info"
        described.mkdir(parents=True)
        (site / f"{name}_module.py").write_text(module)
        (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        lines = [f"{entry} = {name}_module{place}" for entry, place in entries.items()]
        (described / "entry_points.txt").write_text("\n".join([f"[{group}]", *lines, ""]))
        monkeypatch.syspath_prepend(site)
        monkeypatch.delitem(sys.modules, f"{name}_module", raising=False)

    return package
