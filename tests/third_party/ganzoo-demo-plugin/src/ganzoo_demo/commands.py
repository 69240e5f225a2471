"""``ganzoo demo-size``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def size(run: Annotated[Path, typer.Argument(help="A run folder.")]) -> None:
    """Count the parameters of a run's generator."""
    from ganzoo import load

    print(sum(weights.numel() for weights in load(run).assembly.networks["generator"].parameters()))
