"""``ganzoo animate``: a run as an animation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ganzoo.cli.terminal import (
    AllowPaths,
    AsJson,
    DataDir,
    Force,
    RunPath,
    WhichCheckpoint,
    print_json,
    refuse_out,
    say,
)
from ganzoo.errors import GanzooError, writing


def animate(
    context: typer.Context,
    run: RunPath,
    out: Annotated[
        Path | None, typer.Option(help="FILE.gif or FILE.webp; training.gif or walk.gif in the run folder by default.")
    ] = None,
    walk: Annotated[
        bool, typer.Option("--walk", help="Show a walk through latent space instead of the run's sample grids.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the walk's latent codes.", min=0, max=2**63 - 1)] = 0,
    weights: Annotated[
        Literal["ema", "raw"] | None,
        typer.Option(help="Averaged (ema) or raw weights for a walk; ema if the run has them."),
    ] = None,
    checkpoint: WhichCheckpoint = "last",
    device: Annotated[str, typer.Option(help="Device for a walk: auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a GIF or WebP of a run's training, or of a walk through its latent space.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    from ganzoo.files import refuse_links, write_atomically
    from ganzoo.reports import animation
    from ganzoo.reproducibility import resolve_device
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.generator import load
    from ganzoo.runs.weights import zoo_name

    if out is not None and out.suffix not in animation.SUFFIXES:
        raise GanzooError(f"Cannot write an animation to {out.name}.", "Give --out FILE.gif or FILE.webp.")
    if out is not None:
        refuse_out(out, "animate", force=force)
    if zoo_name(run) is not None and (out is None or not walk):
        raise GanzooError(f"{run} has no run folder.", "Give --walk and --out FILE.gif.")
    for option in ("seed", "weights", "checkpoint", "device", "data_dir", "allow_paths"):
        source = context.get_parameter_source(option)
        if not walk and source is not None and source.name == "COMMANDLINE":
            name = "--" + option.replace("_", "-")
            raise GanzooError(f"{name} only applies to a walk through latent space.", "Leave it out, or add --walk.")
    if walk:
        generator = load(run, checkpoint=checkpoint, device=resolve_device(device))
        frames, seconds = animation.walk(generator, weights, seed=seed)
    else:
        frames, seconds = animation.training(RunFolder.open(run))
    target = out or refuse_links(run / ("walk.gif" if walk else "training.gif"), run)
    content = animation.encoded(frames, seconds, target.suffix)
    with writing(f"Could not write {target}", "Give another --out."):
        write_atomically(target, content)
    if as_json:
        print_json(
            {"out": str(target), "frames": len(frames), "seconds": round(sum(seconds), 2), "bytes": len(content)}
        )
    else:
        say(f"Saved to {target} ({len(frames)} frames, {sum(seconds):.1f} s, {len(content) / 1e6:.1f} MB).", err=True)
