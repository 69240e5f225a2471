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
    from_: Annotated[
        Path | None,
        typer.Option("--from", help="Make it of the classes in this script, which is not run.", metavar="FILE.py"),
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="With --from: what a class is, if the script does not say it: MyNet=generator.", metavar="CLASS=KIND"
        ),
    ] = None,
) -> None:
    """Create a working plugin: a loss, two networks, a recipe and tests; or of your own classes, with --from."""
    from ganzoo.errors import GanzooError, foreign_code
    from ganzoo.registry.loading import load_zoo
    from ganzoo_checks.scaffold import check_name, parts_of, write

    zoo, folder, text, parts = load_zoo(), out or Path(name), "", None
    check_name(name, zoo)
    told = {cls: zoo.registry(of_kind).kind for cls, _, of_kind in (one.partition("=") for one in kind or ())}
    if from_ is not None:
        if from_.suffix == ".ipynb":
            raise GanzooError(f"{from_} is a notebook, not a script.", "Give the code.py of a run that it trained.")
        with foreign_code(f"No plugin can be made of {from_}"):
            text = from_.read_text(encoding="utf-8")
            parts, unknown = parts_of(text, told)
        if not parts:
            raise GanzooError(
                f"Nothing in {from_} says what it is for ganzoo.",
                f"Say it with --kind {[*unknown, 'MyNet'][0]}=generator.",
            )
        for cls in unknown:
            say(f"{cls} is left out: nothing says what it is. Add --kind {cls}=generator, for example.", err=True)
    for path in write(name, folder, text, parts):
        say(path)
    say(f"\nNext: pip install -e {shlex.quote(str(folder.resolve()))}", err=True)
    say(f"      ganzoo check {name}\n      ganzoo run {name}-mnist", err=True)


def check(
    name: Annotated[str, typer.Argument(help="A plugin or a package, as `ganzoo plugins` shows it.")],
    as_json: AsJson = False,
) -> None:
    """Check everything that a plugin registers, and report what to change. Exits with 1 if a check fails."""
    from rich.progress import track
    from rich.text import Text

    from ganzoo.cli.console import Console
    from ganzoo.errors import GanzooError
    from ganzoo.registry.loading import load_zoo
    from ganzoo_checks.contract import BASIC, plugin_checks
    from ganzoo_checks.training import STEPS

    checks = plugin_checks(name, load_zoo())
    failures: list[dict[str, str]] = []
    broken, left_out = set[str](), 0
    console = Console(soft_wrap=True)
    for case in track(checks, "checking", console=console, transient=True, disable=as_json or not console.is_terminal):
        if case.thing in broken and case.name in STEPS:
            left_out += 1
            continue
        try:
            with redirect_stdout(sys.stderr):  # a plugin's prints must not mix with results or JSON
                case.run()
        except GanzooError as error:
            if case.name in BASIC:
                broken.add(case.thing)
            place = {"plugin": case.plugin, "thing": case.thing, "check": case.name}
            failures.append({**place, "sentence": error.sentence, "remedy": error.remedy})
            if not as_json:
                console.print(Text(f"{case.thing} {case.name}: ", "red") + Text(f"{error.sentence} {error.remedy}"))
    if as_json:
        print_json({"plugin": name, "checks": len(checks), "left_out": left_out, "failures": failures}, indent=1)
    elif failures:
        others = f", {left_out} were left out" if left_out else ""
        console.print(Text(f"{len(failures)} of {len(checks)} checks failed{others}.", "red"))
    else:
        console.print(Text(f"All {len(checks)} checks passed.", "green"))
    if failures:
        raise typer.Exit(1)
