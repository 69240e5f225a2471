"""What only the person at the keyboard may allow, as options; no recipe, run folder or cache can."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def _allow_code(context: typer.Context, allowed: bool) -> bool:
    if allowed:
        from ganzoo.evaluation import pretrained

        context.with_resource(pretrained.allow_code())
    return allowed


def _allow_paths(context: typer.Context, allowed: bool) -> bool:
    if allowed:
        from ganzoo.runs.folder import reading

        context.with_resource(reading(anywhere=True))
    return allowed


def _read_from(context: typer.Context, data_dir: Path | None) -> Path | None:
    if data_dir is not None:
        from ganzoo.runs.folder import reading

        context.with_resource(reading(data_dir))
    return data_dir


AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", callback=_allow_code, help="Let an extractor run code that is downloaded: dinov2-* does."
    ),
]

AllowPaths = Annotated[
    bool,
    typer.Option(
        "--allow-paths",
        callback=_allow_paths,
        help="Let a run that was not started here read the dataset from wherever it names.",
    ),
]

DataDir = Annotated[Path | None, typer.Option(callback=_read_from, help="Where dataset files already are.")]
