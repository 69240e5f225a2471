"""``ganzoo sample``: pictures from a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

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
from ganzoo.errors import GanzooError, writing

DEFAULT = 64
"""Number of images."""
MAX_COLUMNS = 40
"""Up to this many classes get a column each."""


def sample(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.png to look at; FILE.npz for `images`, (n, h, w) if grey or (n, h, w, 3) if in colour, and "
            "`labels`."
        ),
    ],
    n: Annotated[
        int | None,
        typer.Option(
            "--n",
            "-n",
            help="Number of images; by default 64, or about as many in full rows of classes.",
            min=1,
            max=10**6,
        ),
    ] = None,
    class_: Annotated[
        str | None,
        typer.Option(
            "--class", "--label", help="Only this class, by name or number; conditional recipes only.", metavar="CLASS"
        ),
    ] = None,
    scale: Annotated[int, typer.Option(help="Enlarge a PNG by this factor.", min=1, max=32)] = 1,
    seed: Annotated[int, typer.Option(help="Seed of the latent codes.", min=0, max=2**63 - 1)] = 0,
    truncation: Annotated[
        float,
        typer.Option(
            help="Move latent codes, or w in a generator like StyleGAN's, towards their middle: 1 not at all, 0 all "
            "the way. Images become more typical and less varied.",
            min=0.0,
            max=1.0,
        ),
    ] = 1.0,
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    data_dir: DataDir = None,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Draw images from a run's newest checkpoint. A conditional recipe's PNG has one class per column.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    refuse_out(out, "sample", force=force)
    from ganzoo.api.dataset import png
    from ganzoo.files import write_atomically
    from ganzoo.reproducibility import resolve_device
    from ganzoo.runs.generator import load

    generator = load(run, checkpoint=checkpoint, device=resolve_device(device))
    modality = generator.assembly.spec.modality
    if out.suffix not in modality.suffixes:
        known = " or ".join(f"--out FILE{suffix}" for suffix in modality.suffixes)
        raise GanzooError(f"Samples of this run cannot be written to {out.name}.", f"Give {known}.")
    if scale > 1 and out.suffix != ".png":
        raise GanzooError(
            f"--scale enlarges PNGs, but {out.name} is not a PNG.", "Leave it out, or give --out FILE.png."
        )
    classes = 0 if class_ is not None or generator.classes > MAX_COLUMNS else generator.classes
    n = n or (classes * max(1, round(DEFAULT / classes)) if classes else DEFAULT)
    images, labels = generator.sample_labelled(n, seed, class_, weights, truncation=truncation)
    with writing(f"Could not write {out}", "Give another --out."):
        if out.suffix == ".png" and (classes or scale > 1):
            picture = modality.picture(images, classes or None)
            write_atomically(out, png(picture.repeat_interleave(scale, 1).repeat_interleave(scale, 2)))
        else:
            modality.write(out, images, labels)
    facts: dict[str, Any] = {
        "out": str(out),
        "n": n,
        "shape": list(images.shape[1:]),
        "seed": seed,
        "truncation": truncation,
        "class": None if class_ is None else generator.class_number(class_),
        "weights": weights or generator.weights[0],
        "images": generator.checkpoint.state["images"],
    }
    if as_json:
        print_json(facts)
    else:
        age = f"{facts['weights']} weights after {facts['images']:,} training images"
        of = "" if class_ is None else f" of class {generator.class_names[facts['class']]}"
        cut = "" if truncation == 1 else f", truncation {truncation:g}"
        say(f"Saved {n:,} images{of} to {out} ({age}, seed {seed}{cut}).", err=True)
        if out.suffix == ".png" and classes and not all(name.isdecimal() for name in generator.class_names):
            say(f"Columns: {', '.join(generator.class_names)}", err=True)
