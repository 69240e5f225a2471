"""``ganzoo sample``: pictures from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ganzoo.cli.terminal import AllowPaths, DataDir, print_json, say
from ganzoo.errors import GanzooError


def sample(
    run: Annotated[Path, typer.Argument(help="The run folder.")],
    out: Annotated[Path, typer.Option(help="FILE.png to look at, FILE.npz for `images` and `labels`.")],
    n: Annotated[int, typer.Option("--n", help="Number of images.", min=1, max=1_000_000)] = 64,
    class_: Annotated[
        int | None,
        typer.Option("--class", help="Only this class; conditional recipes only.", metavar="K", min=0, max=10**6),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the latent codes.", min=0, max=2**63 - 1)] = 0,
    weights: Annotated[
        Literal["ema", "raw"] | None, typer.Option(help="By default ema, where the run kept it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_paths: AllowPaths = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Draw images from a run's newest checkpoint."""
    if not out.parent.is_dir():
        raise GanzooError(f"No such folder: {out.parent}", "Create it first, or give another --out.")
    from ganzoo.runs.generator import load
    from ganzoo.training.device import resolve_device

    generator = load(run, device=resolve_device(device))
    modality = generator.assembly.spec.modality
    if out.suffix not in modality.suffixes:
        known = " or ".join(f"--out FILE{suffix}" for suffix in modality.suffixes)
        raise GanzooError(f"Samples of this run cannot be written to {out.name}.", f"Give {known}.")
    images, labels = generator.sample_labelled(n, seed, class_, weights)
    try:
        modality.write(out, images, labels)
    except OSError as error:
        raise GanzooError(f"Could not write {out} ({error.strerror}).", "Give another --out.") from error
    facts: dict[str, Any] = {
        "out": str(out),
        "n": n,
        "shape": list(images.shape[1:]),
        "seed": seed,
        "class": class_,
        "weights": weights or generator.weights[0],
        "images": generator.checkpoint.state["images"],
    }
    if as_json:
        print_json(facts)
    else:
        age = f"{facts['weights']} weights after {facts['images']:,} training images"
        say(f"Saved {n:,} images to {out} ({age}, seed {seed}).", err=True)
