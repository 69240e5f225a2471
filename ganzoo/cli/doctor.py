"""``ganzoo doctor``: what is wrong with a run."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.errors import one_line

if TYPE_CHECKING:
    from ganzoo.runs.diagnosis import Diagnosis
    from ganzoo.runs.folder import RunFolder


def doctor(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the diagnosis as JSON on standard output.")] = False,
) -> None:
    """Say what is wrong with a run, and what to do about it."""
    from ganzoo.runs.diagnosis import examine
    from ganzoo.runs.folder import RunFolder

    folder = RunFolder.open(run)
    diagnosis = examine(folder)
    if as_json:
        typer.echo(json.dumps(facts(folder, diagnosis), ensure_ascii=False))
        return
    heading = f"{folder.info['recipe']}: {folder.info['status']} after {_images(folder):,} images"
    for line in (heading, *diagnosis.lines()):
        typer.echo(one_line(line))


def facts(folder: RunFolder, diagnosis: Diagnosis) -> dict[str, Any]:
    """A diagnosis as JSON: ``{"run", "recipe", "status", "images", "verdict", "findings", "judged", "unjudged"}``."""
    return {
        "run": str(folder.path),
        "recipe": folder.info["recipe"],
        "status": folder.info["status"],
        "images": _images(folder),
        "verdict": diagnosis.verdict,
        **asdict(diagnosis),
    }


def _images(folder: RunFolder) -> int:
    return max((event.get("images", 0) for event in folder.events()), default=0)
