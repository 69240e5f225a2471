"""``ganzoo report``: a run as one page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    device: Annotated[str, typer.Option(help="Where samples are drawn: auto, cpu, cuda, cuda:1, ...")] = "auto",
    draw: Annotated[
        bool, typer.Option(help="Draw from the checkpoint for nearest neighbours and interpolation.")
    ] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print where it is as JSON on standard output.")] = False,
) -> None:
    """Make report.html in a run folder: curves, samples as they grew, scores, health and the recipe."""
    from ganzoo.cli.problems import warn_of_problems
    from ganzoo.pages.report import write_report
    from ganzoo.plugins import load_zoo
    from ganzoo.training.precision import resolve_device

    zoo = load_zoo()
    warn_of_problems(zoo)
    path = write_report(run, zoo, device=resolve_device(device), draw=draw)
    if as_json:
        typer.echo(json.dumps({"report": str(path)}, ensure_ascii=False))
    else:
        typer.echo(f"the report is {path}", err=True)
