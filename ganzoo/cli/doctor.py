"""``ganzoo doctor``: what is wrong with a training run."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.terminal import AsJson, print_json, say
from ganzoo.errors import GanzooError, one_line


def doctor(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    as_json: AsJson = False,
) -> None:
    """Report what is wrong with a run, and what to do about it."""
    from ganzoo.runs.diagnosis import diagnose
    from ganzoo.runs.folder import RunFolder

    folder = RunFolder.open(run)
    diagnosis = diagnose(folder.events())
    try:
        folder.refuse_another_recipe()
    except GanzooError as error:  # the diagnosis needs no recipe
        say(str(error), err=True, colour="yellow")
    recipe, status = folder.info["recipe"], folder.info["status"]
    images = max((event.get("images", 0) for event in folder.events()), default=0)
    if as_json:
        facts = {"run": str(folder.path), "recipe": recipe, "status": status, "images": images}
        print_json({**facts, "verdict": diagnosis.verdict, **asdict(diagnosis)})
        return
    for line in (f"{recipe}: {status} after {images:,} images", *diagnosis.lines()):
        say(one_line(line))
