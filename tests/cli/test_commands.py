"""Commands of other packages, found through the entry-point group ``ganzoo.commands``."""

import pytest

GOOD = """\
import typer
from typing import Annotated

print("being imported")

def measure(run: Annotated[str, typer.Argument(help="A run.")], twice: bool = False) -> None:
    \"\"\"Measure a run.\"\"\"
    print(run * (1 + twice))

group = typer.Typer(help="Two of a kind.")

@group.command("first")
def first() -> None:
    \"\"\"The first.\"\"\"
    print("one")

@group.command("second")
def second() -> None:
    \"\"\"The second.\"\"\"
    raise ValueError("no second")
"""


@pytest.fixture
def bring(monkeypatch, tmp_path):
    """Install a package ``stranger`` with a module, and commands that lead to it."""

    def install(module, **commands):
        (tmp_path / "stranger_commands.py").write_text(module)
        described = tmp_path / "stranger-1.0.dist-info"
        described.mkdir()
        (described / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
        lines = [f"{name} = stranger_commands:{place}" for name, place in commands.items()]
        (described / "entry_points.txt").write_text("\n".join(["[ganzoo.commands]", *lines, ""]))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(__import__("sys").modules, "stranger_commands", raising=False)

    return install


def test_a_package_brings_a_command_and_a_group_of_commands(call, bring):
    bring(GOOD, measure="measure", both="group")
    code, out, err = call("--help")
    assert code == 0
    assert "Measure a run." in out
    assert "Two of a kind." in out
    assert call("measure", "ab", "--twice")[:2] == (0, "abab\n"), "what its import prints does not mix with the result"
    assert call("both", "first")[:2] == (0, "one\n")
    code, _, err = call("both", "second")
    assert (code, "Traceback" in err) == (1, False)
    assert "ValueError: no second (stranger_commands.py, line " in err
    code, _, err = call("measur")
    assert code == 2
    assert "Did you mean 'measure'?" in err


def test_a_broken_command_costs_a_line_and_nothing_else(call, bring):
    bring("raise RuntimeError('a cable is loose')", measure="measure")
    code, out, _ = call("--help")
    assert code == 0
    assert "a cable is loose" in out
    assert "Train a recipe" in out
    code, out, err = call("measure", "ab", "--twice")
    assert (code, out) == (2, "")
    assert err == (
        "'stranger_commands:measure' of stranger 1.0 cannot be loaded: RuntimeError: a cable is loose. "
        "Update that package, or uninstall it.\n"
    )
    assert call("list", "prior")[0] == 0


def test_nobody_replaces_a_command_of_ours_and_all_others_can_be_switched_off(call, bring, monkeypatch):
    bring(GOOD, run="measure", report="measure", measure="measure")
    assert "Measure a run." not in call("run", "--help")[1]
    assert "Measure a run." not in call("report", "--help")[1]
    assert call("measure", "a")[0] == 0
    monkeypatch.setenv("GANZOO_DISABLE_EXTERNAL_PLUGINS", "1")
    assert call("measure", "a")[0] == 2
