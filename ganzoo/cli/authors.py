"""``ganzoo new`` and ``ganzoo check``: for plugin authors."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo.cli.terminal import print_json, say

if TYPE_CHECKING:
    from ganzoo.checks.catalogue import PluginCheck


def new(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower-case words joined by hyphens.")],
    out: Annotated[Path | None, typer.Option(help="Output folder; default: ./NAME.")] = None,
) -> None:
    """Create a working plugin: a loss, two networks, a recipe and tests."""
    from ganzoo.registry.loading import load_zoo
    from ganzoo.scaffold import check_name, write

    check_name(name, load_zoo())
    folder = out or Path(name)
    for path in write(name, folder):
        say(path)
    say(f"\nNext: pip install -e {folder.resolve()}", err=True)
    say(f"      ganzoo check {name}\n      ganzoo run {name}-mnist", err=True)


@dataclass(frozen=True)
class Failure:
    """A failed check.

    Attributes:
        plugin: The plugin's name.
        thing: What was checked: ``loss-hinge``, or ``plugin-NAME`` for the whole plugin.
        check: The check's name.
        sentence: What is wrong.
        remedy: What to change.
    """

    plugin: str
    thing: str
    check: str
    sentence: str
    remedy: str


def check(
    name: Annotated[str, typer.Argument(help="A plugin or a package, as `ganzoo plugins` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the failures as JSON.")] = False,
) -> None:
    """Check everything that a plugin registers, and say what to change. Exits with 1 if a check fails."""
    from ganzoo.checks.catalogue import plugin_checks
    from ganzoo.registry.loading import load_zoo

    checks = plugin_checks(name, load_zoo())
    failures = _failures(checks, silent=as_json)
    if as_json:
        found = [asdict(failure) for failure in failures]
        print_json({"plugin": name, "checks": len(checks), "failures": found}, indent=1)
    else:
        _report(len(checks), failures)
    if failures:
        raise typer.Exit(1)


def _failures(checks: list[PluginCheck], *, silent: bool) -> list[Failure]:
    from rich.progress import track

    from ganzoo.checks.entries import CheckFailed
    from ganzoo.cli.console import Console

    found = []
    console = Console(stderr=True)
    for case in track(checks, "checking", console=console, transient=True, disable=silent or not console.is_terminal):
        try:
            case.run()
        except CheckFailed as error:
            found.append(Failure(case.plugin, case.thing, case.check, error.sentence, error.remedy))
    return found


def _report(checks: int, failures: list[Failure]) -> None:
    from rich.text import Text

    from ganzoo.cli.console import Console

    console = Console(soft_wrap=True)
    for failure in failures:
        console.print(Text(f"{failure.thing} {failure.check}: ", "red") + Text(f"{failure.sentence} {failure.remedy}"))
    found = f"{len(failures)} of {checks} checks failed." if failures else f"All {checks} checks passed."
    console.print(Text(found, "red" if failures else "green"))
