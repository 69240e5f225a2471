"""Plugins that could not be loaded, said once on standard error."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from ganzoo.plugins import Zoo


def warn_of_problems(zoo: Zoo) -> None:
    """One sentence for each plugin that was left out; everything else goes on."""
    for problem in zoo.problems:
        typer.secho(problem.sentence, fg="yellow", err=True)
