"""``ganzoo list``: everything that plugins registered."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def list_(
    kind: Annotated[str | None, typer.Argument(help="losses, generators, recipes, ...; everything by default.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")] = False,
) -> None:
    """List what can be named in a recipe, and the recipes."""
    from rich.console import Console
    from rich.table import Table

    from ganzoo.cli.problems import warn_of_problems
    from ganzoo.plugins import load_zoo
    from ganzoo.registry import KINDS

    zoo = load_zoo()
    registries = [zoo.registry(kind)] if kind else zoo.registries()
    warn_of_problems(zoo)
    if as_json:
        fields = ("name", "kind", "summary", "paper", "plugin")
        found = [{field: getattr(entry, field) for field in fields} for registry in registries for entry in registry]
        typer.echo(json.dumps(found, ensure_ascii=False, indent=1))
        return
    console = Console()
    for registry in registries:
        if len(registry):
            table = Table(title=KINDS[registry.kind], title_justify="left", title_style="bold")
            for heading in ("name", "summary", "paper", "plugin"):
                table.add_column(heading)
            for entry in registry:
                table.add_row(entry.name, entry.summary, entry.paper or "", entry.plugin)
            console.print(table)
