"""``ganzoo plugins``: which plugins there are, what each offers, and which were refused."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def plugins(as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False) -> None:
    """List plugins and what each registered; exits with 1 if one is broken."""
    from rich.console import Console
    from rich.table import Table

    from ganzoo.cli.problems import warn_of_problems
    from ganzoo.plugins import load_zoo

    zoo = load_zoo()
    warn_of_problems(zoo)
    if as_json:
        loaded = [
            {
                "plugin": plugin.name,
                "distribution": plugin.distribution,
                "registered": [{"kind": entry.kind, "name": entry.name} for entry in plugin.registered],
            }
            for plugin in zoo.plugins
        ]
        refused = [vars(problem) for problem in zoo.problems]
        typer.echo(json.dumps({"plugins": loaded, "problems": refused}, ensure_ascii=False, indent=1))
    else:
        table = Table()
        for heading in ("plugin", "distribution", "registers"):
            table.add_column(heading)
        for plugin in zoo.plugins:
            offers = ", ".join(f"{entry.kind} {entry.name}" for entry in plugin.registered)
            table.add_row(plugin.name, plugin.distribution, offers)
        Console().print(table)
    if zoo.problems:
        raise typer.Exit(1)
