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
def bring(install):
    """Install a package ``stranger`` with a module, and commands that lead to it."""
    return lambda module, **commands: install(
        "stranger", module, "ganzoo.commands", **{name: f":{place}" for name, place in commands.items()}
    )


def test_a_package_brings_a_command_and_a_group_of_commands(call, done, refused, bring):
    bring(GOOD, measure="measure", both="group")
    out, _ = done("--help")
    assert "Measure a run." in out
    assert "Two of a kind." in out
    assert done("measure", "ab", "--twice")[0] == "abab\n", "what its import prints does not mix with the result"
    assert done("both", "first")[0] == "one\n"
    code, _, err = call("both", "second")
    assert (code, "Traceback" in err) == (1, False)
    assert "ValueError: no second (stranger_module.py, line " in err
    assert "Did you mean 'measure'?" in refused("measur")


def test_a_broken_command_costs_a_line_and_nothing_else(done, refused, bring):
    bring("raise RuntimeError('a cable is loose')", measure="measure")
    out, _ = done("--help")
    assert "a cable is loose" in out
    assert "Train a recipe" in out
    assert refused("measure", "ab", "--twice") == (
        "'stranger_module:measure' of stranger 1.0 cannot be loaded: RuntimeError: a cable is loose. "
        "Update that package, or uninstall it.\n"
    )
    done("list", "prior")


def test_nobody_replaces_a_command_of_ours_and_all_others_can_be_switched_off(call, bring, monkeypatch):
    bring(GOOD, run="measure", report="measure", measure="measure")
    assert "Measure a run." not in call("run", "--help")[1]
    assert "Measure a run." not in call("report", "--help")[1]
    assert call("measure", "a")[0] == 0
    monkeypatch.setenv("GANZOO_DISABLE_EXTERNAL_PLUGINS", "1")
    assert call("measure", "a")[0] == 2
