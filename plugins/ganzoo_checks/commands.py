"""``ganzoo new`` and ``ganzoo check``: for plugin authors."""

from __future__ import annotations

import shlex
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.terminal import AsJson, print_json, say


def new(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower-case words joined by hyphens.")],
    out: Annotated[Path | None, typer.Option(help="Output folder; default: ./NAME.")] = None,
) -> None:
    """Create a working plugin: a loss, two networks, a recipe and tests."""
    from ganzoo.registry.loading import load_zoo
    from ganzoo_checks.scaffold import check_name, write

    check_name(name, load_zoo())
    folder = out or Path(name)
    for path in write(name, folder):
        say(path)
    say(f"\nNext: pip install -e {shlex.quote(str(folder.resolve()))}", err=True)
    say(f"      ganzoo check {name}\n      ganzoo run {name}-mnist", err=True)


def check(
    name: Annotated[str, typer.Argument(help="A plugin or a package, as `ganzoo plugins` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Check everything that a plugin registers, and report what to change. Exits with 1 if a check fails."""
    from rich.progress import Progress
    from rich.text import Text

    from ganzoo.cli.console import Console
    from ganzoo.registry.loading import load_zoo
    from ganzoo_checks.catalogue import BASIC, STEPS, plugin_checks
    from ganzoo_checks.entries import CheckFailed

    checks = plugin_checks(name, load_zoo())
    failures: list[dict[str, str]] = []
    basic, left_out = set[str](), 0
    console, bar = Console(soft_wrap=True), Console(stderr=True)
    with Progress(console=bar, transient=True, disable=as_json or not bar.is_terminal) as progress:
        for case in progress.track(checks, description="checking"):
            if case.thing in basic and case.check in STEPS:
                left_out += 1
                continue
            try:
                with redirect_stdout(sys.stderr):  # a plugin's prints must not mix with results or JSON
                    case.run()
            except CheckFailed as error:
                what = {"plugin": case.plugin, "thing": case.thing, "check": case.check}
                if case.check in BASIC:
                    basic.add(case.thing)
                failures.append({**what, "sentence": error.sentence, "remedy": error.remedy})
                if as_json:
                    continue
                if not progress.disable:  # the bar may be on the same terminal, in another stream
                    progress.stop()
                place = Text(f"{case.thing} {case.check}: ", "red")
                console.print(place + Text(f"{error.sentence} {error.remedy}"))
                progress.start()
    if as_json:
        print_json({"plugin": name, "checks": len(checks), "left_out": left_out, "failures": failures}, indent=1)
    else:
        verdict = f"All {len(checks)} checks passed."
        if failures:
            others = f", {left_out} were left out" if left_out else ""
            verdict = f"{len(failures)} of {len(checks)} checks failed{others}."
        console.print(Text(verdict, "red" if failures else "green"))
    if failures:
        raise typer.Exit(1)
