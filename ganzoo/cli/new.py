"""``ganzoo new``: a plugin to begin with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[str, typer.Argument(help="What the plugin is called: lower-case words joined by hyphens.")],
    out: Annotated[Path | None, typer.Option(help="Folder to write it into; ./NAME by default.")] = None,
) -> None:
    """Write a plugin that installs, passes its checks and trains at once: a loss, two networks, a recipe, tests."""
    from ganzoo.plugins import load_zoo
    from ganzoo.scaffold import refuse_name, write

    refuse_name(name, load_zoo())
    folder = out or Path(name)
    for path in write(name, folder):
        typer.echo(path)
    typer.echo(f"\nNext: pip install -e {folder.resolve()}", err=True)
    typer.echo(f"      ganzoo check {name}\n      ganzoo run {name}-mnist", err=True)
