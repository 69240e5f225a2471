"""``ganzoo leaderboard``: all recipes on one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def leaderboard(
    results: Annotated[Path, typer.Argument(help="The folder of runs.jsonl.")] = Path("results"),
    readme: Annotated[
        Path | None, typer.Option(help="Rewrite the short table between the markers of this file, too.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Make the leaderboard's pages from the records of `ganzoo bench`."""
    from ganzoo.pages.leaderboard import write_leaderboard

    written = write_leaderboard(results, readme)
    files = [str(path) for path in written.files]
    if as_json:
        typer.echo(json.dumps({"files": files, "recipes": written.recipes}, ensure_ascii=False))
    else:
        typer.echo(f"{written.recipes} recipes are in {', '.join(files)}", err=True)
