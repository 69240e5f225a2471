"""``ganzoo new`` and ``ganzoo check``: for plugin authors."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ganzoo.checks.catalogue import Case


def new(
    name: Annotated[str, typer.Argument(help="What the plugin is called: lower-case words joined by hyphens.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write it into; ./NAME by default.")] = None,
) -> None:
    """Write a plugin that installs, passes its checks and trains at once: a loss, two networks, a recipe, tests."""
    from ganzoo.registry.loading import load_zoo
    from ganzoo.scaffold import refuse_name, write

    refuse_name(name, load_zoo())
    folder = out or Path(name)
    for path in write(name, folder):
        typer.echo(path)
    typer.echo(f"\nNext: pip install -e {folder.resolve()}", err=True)
    typer.echo(f"      ganzoo check {name}\n      ganzoo run {name}-mnist", err=True)


@dataclass(frozen=True)
class Failure:
    """A check that did not hold.

    Attributes:
        plugin: Its name, as ``ganzoo plugins`` shows it.
        thing: ``loss-hinge``, or ``plugin-NAME`` for what concerns the whole.
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
    name: Annotated[str, typer.Argument(help="A plugin or a distribution, as `ganzoo plugins` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the failures as JSON on standard output.")] = False,
) -> None:
    """Try everything that a plugin registers, and say what to change; exits with 1 if anything is to be changed."""
    from ganzoo.checks.catalogue import cases
    from ganzoo.registry.loading import load_zoo

    tried = cases(name, load_zoo())
    failures = _failures(tried, silent=as_json)
    if as_json:
        found = [asdict(failure) for failure in failures]
        typer.echo(json.dumps({"plugin": name, "checks": len(tried), "failures": found}, ensure_ascii=False, indent=1))
    else:
        _report(len(tried), failures)
    if failures:
        raise typer.Exit(1)


def _failures(tried: list[Case], *, silent: bool) -> list[Failure]:
    from rich.console import Console
    from rich.progress import track

    from ganzoo.checks.verdict import Broken

    found = []
    screen = Console(stderr=True)
    for case in track(tried, "checking", console=screen, transient=True, disable=silent or not screen.is_terminal):
        try:
            case.run()
        except Broken as error:
            found.append(Failure(case.plugin, case.thing, case.check, error.sentence, error.remedy))
    return found


def _report(checks: int, failures: list[Failure]) -> None:
    from rich.console import Console
    from rich.text import Text

    screen = Console(soft_wrap=True)
    for failure in failures:
        screen.print(Text(f"{failure.thing} {failure.check}: ", "red") + Text(f"{failure.sentence} {failure.remedy}"))
    found = f"{len(failures)} of {checks} checks failed." if failures else f"All {checks} checks passed."
    screen.print(Text(found, "red" if failures else "green"))
