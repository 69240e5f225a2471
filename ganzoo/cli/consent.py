"""What only the person at the keyboard may allow, as options; no recipe, run folder or cache can."""

from __future__ import annotations

from typing import Annotated

import typer


def _allow_code(context: typer.Context, allowed: bool) -> bool:
    if allowed:
        from ganzoo.evaluation import pretrained

        context.with_resource(pretrained.allow_code())
    return allowed


AllowCode = Annotated[
    bool,
    typer.Option(
        "--allow-code", callback=_allow_code, help="Let an extractor run code that is downloaded: dinov2-* does."
    ),
]
