"""``ganzoo export``: a generator for other programs, or for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.terminal import (
    AllowPaths,
    DataDir,
    RunPath,
    WhichCheckpoint,
    WhichWeights,
    WrittenAsJson,
    print_json,
    refuse_missing_folder,
    say,
)
from ganzoo.errors import GanzooError


def export(
    run: RunPath,
    out: Annotated[Path, typer.Option(help="FILE.onnx, or FILE.html: a page that draws offline in any browser.")],
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    data_dir: DataDir = None,
    allow_paths: AllowPaths = False,
    as_json: WrittenAsJson = False,
) -> None:
    """Export a run's generator as ONNX, or as one HTML page to explore it with."""
    refuse_missing_folder(out)
    if out.suffix not in (".onnx", ".html"):
        raise GanzooError(f"Cannot export to {out.name}.", "Give --out FILE.onnx or FILE.html.")
    import torch

    from ganzoo.reports import export as exporting
    from ganzoo.runs.generator import load

    n_bytes = exporting.export(load(run, checkpoint=checkpoint, device=torch.device("cpu")), out, weights)
    if as_json:
        print_json({"out": str(out), "bytes": n_bytes})
    else:
        say(f"Saved {out} ({n_bytes / 1e6:.1f} MB).", err=True)
