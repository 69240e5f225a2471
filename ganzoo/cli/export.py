"""``ganzoo export``: a generator for other programs, or for a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ganzoo.cli.terminal import (
    AllowPaths,
    AsJson,
    DataDir,
    Force,
    RunPath,
    WhichCheckpoint,
    WhichWeights,
    print_json,
    refuse_out,
    say,
)
from ganzoo.errors import GanzooError


def export(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.onnx; FILE.html, a page that draws samples offline in any browser; or NAME.safetensors, a "
            "pretrained generator in half precision, with its card."
        ),
    ],
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    data_dir: DataDir = None,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export a run's generator as ONNX, as a single HTML page for exploring it, or as a pretrained generator.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    refuse_out(out, "export", force=force)
    if out.suffix not in (".onnx", ".html", ".safetensors"):
        raise GanzooError(f"Cannot export to {out.name}.", "Give --out FILE.onnx, FILE.html or NAME.safetensors.")
    import torch

    from ganzoo.reports import export as exporting
    from ganzoo.runs.generator import load
    from ganzoo.runs.weights import publish, zoo_name

    generator = load(run, checkpoint=checkpoint, device=torch.device("cpu"))
    card: dict[str, str] = {}
    if out.suffix == ".safetensors":
        if zoo_name(run) is not None:
            raise GanzooError(f"{run} is already a pretrained generator.", "Give a run folder.")
        n_bytes = publish(generator, out, generator.zoo, weights)["weights"]["bytes"]
        card = {"card": str(out.with_suffix(".json"))}
        if generator.run.info.get("status") != "done":
            shown = generator.checkpoint.state["images"]
            say(
                f"The run has not ended: these are its weights after {shown:,} images. Export again when it has.",
                err=True,
            )
    else:
        n_bytes = exporting.export(generator, out, weights)
    if as_json:
        print_json({"out": str(out), "bytes": n_bytes, **card})
    else:
        beside = f", and its card to {card['card']}" if card else ""
        say(f"Saved to {out} ({n_bytes / 1e6:.1f} MB){beside}.", err=True)
