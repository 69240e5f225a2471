"""``ganzoo report``, ``compare``, ``animate`` and ``export``: pages, animations and files of training runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from ganzoo.cli.terminal import (
    AllowCode,
    AllowPaths,
    AsJson,
    DataDir,
    Force,
    RunPath,
    WhichCheckpoint,
    WhichWeights,
    load_zoo_and_warn,
    print_json,
    refuse_missing_folder,
    refuse_out,
    say,
)
from ganzoo.errors import GanzooError, one_line


def report(
    run: Annotated[Path, typer.Argument(help="A run folder, finished or not.")],
    device: Annotated[str, typer.Option(help="Device that draws the samples: auto, cpu, cuda, cuda:1, ...")] = "auto",
    draw: Annotated[
        bool, typer.Option(help="Draw samples from the checkpoint for nearest neighbours and interpolation.")
    ] = True,
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    as_json: AsJson = False,
) -> None:
    """Make report.html in a run folder: curves, training progress, scores, health and the recipe."""
    from ganzoo.reproducibility import resolve_device
    from ganzoo_reports.run_pages import write_report

    path = write_report(run, load_zoo_and_warn(), device=resolve_device(device), draw=draw)
    _announce({"report": str(path)}, f"Saved to {path}", as_json)


def watch(
    run: Annotated[
        Path,
        typer.Argument(
            help="A run folder, which need not exist yet; or a folder of runs, for the newest.", file_okay=False
        ),
    ] = Path("runs"),
    port: Annotated[int, typer.Option(help="The page's port; by default a free one.", min=0, max=65535)] = 0,
    until_eof: Annotated[
        bool, typer.Option("--until-eof", hidden=True, help="End when standard input does, for `ganzoo run --watch`.")
    ] = False,
) -> None:
    """Serve a page that follows a training: samples, losses, scores, health. Only this machine can open it."""
    from ganzoo_reports.watch import serve

    serve(run, port, load_zoo_and_warn(), until_eof=until_eof)


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two to twelve run folders.")],
    out: Annotated[Path, typer.Option(help="The HTML page to write.")] = Path("compare.html"),
    as_json: AsJson = False,
) -> None:
    """Make a page that compares several runs: samples, scores by protocol, curves, settings that differ."""
    from ganzoo_reports.run_pages import write_comparison

    refuse_missing_folder(out)
    path = write_comparison(runs, out)
    _announce({"page": str(path)}, f"Saved to {path}", as_json)


def _announce(facts: dict[str, Any], sentence: str, as_json: bool) -> None:
    """Say what was written."""
    if as_json:
        print_json(facts)
    else:
        say(sentence, err=True)


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
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Make a GIF or WebP of a run's training, or of a walk through its latent space.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    from ganzoo.files import refuse_links
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.generator import load
    from ganzoo.runs.pretrained import zoo_name
    from ganzoo_reports import export as exporting

    if out is not None:
        if out.suffix not in exporting.FORMATS:
            raise GanzooError(f"Cannot write an animation to {out.name}.", "Give --out FILE.gif or FILE.webp.")
        refuse_out(out, "animate", force=force)
    if zoo_name(run) is not None and (out is None or not walk):
        raise GanzooError(f"{run} has no run folder.", "Give --walk and --out FILE.gif.")
    for option in ("seed", "weights", "checkpoint", "device"):
        source = context.get_parameter_source(option)
        if not walk and source is not None and source.name == "COMMANDLINE":
            raise GanzooError(
                f"--{option} only applies to a walk through latent space.", "Leave it out, or add --walk."
            )
    if walk:
        frames, seconds = exporting.walk(load(run, checkpoint=checkpoint, device=device), weights, seed=seed)
    else:
        frames, seconds = exporting.training(RunFolder.open(run), load_zoo_and_warn())
    target = out or refuse_links(run / ("walk.gif" if walk else "training.gif"), run)
    content = exporting.encoded(frames, seconds, target.suffix)
    exporting.save({target: content})
    facts = {"out": str(target), "frames": len(frames), "seconds": round(sum(seconds), 2), "bytes": len(content)}
    size = f"{len(frames)} frames, {sum(seconds):.1f} s, {len(content) / 1e6:.1f} MB"
    _announce(facts, f"Saved to {target} ({size}).", as_json)


def export(
    run: RunPath,
    out: Annotated[
        Path,
        typer.Option(
            help="FILE.onnx; FILE.html, a page that draws samples, or translates what one draws on it, offline in any "
            "browser; NAME.safetensors, a pretrained generator in half precision, with its card; or, with --format "
            "hub, a folder."
        ),
    ],
    format_: Annotated[
        Literal["hub"] | None,
        typer.Option("--format", help="hub: write a folder as the Hugging Face Hub expects it."),
    ] = None,
    summary: Annotated[
        str | None,
        typer.Option(
            help="What it draws, whose pictures it was trained on, and their licence; by default the recipe's summary.",
            metavar="TEXT",
        ),
    ] = None,
    weights: WhichWeights = None,
    checkpoint: WhichCheckpoint = "last",
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    force: Force = False,
    as_json: AsJson = False,
) -> None:
    """Export a run's generator as ONNX, as a single HTML page, as a pretrained generator, or for the Hub.

    An existing file is overwritten if ganzoo made it, or with --force.
    """
    if format_ == "hub":
        refuse_missing_folder(out)
    else:
        refuse_out(out, "export", force=force)
        if out.suffix not in (".onnx", ".html", ".safetensors"):
            raise GanzooError(
                f"Cannot export to {out.name}.",
                "Give --out FILE.onnx, FILE.html or NAME.safetensors, or --format hub for a folder.",
            )
    from ganzoo.files import as_argument
    from ganzoo.runs.generator import load
    from ganzoo_reports import export as exporting

    generator = load(run, checkpoint=checkpoint, device="cpu")
    if summary is not None:
        generator = replace(generator, recipe=generator.recipe.model_copy(update={"summary": one_line(summary)}))
    card: dict[str, str] = {}
    beside = ""
    if format_ is None and out.suffix != ".safetensors":
        is_graph = out.suffix == ".onnx"
        content = exporting.to_onnx(generator, weights) if is_graph else exporting.to_html(generator, weights).encode()
        exporting.save({out: content})
        n_bytes = len(content)
    elif generator.run.path.is_file():
        raise GanzooError(f"{run} is already a pretrained generator.", "Give a run folder.")
    elif format_ == "hub":
        n_bytes = exporting.publish_folder(generator, out, generator.zoo, weights, force=force)
        beside = f". Choose a licence in its README.md, then upload it: hf upload USER/NAME {as_argument(out)}"
    else:
        facts = exporting.publish(generator, out, generator.zoo, weights)
        n_bytes = facts["weights"]["bytes"]
        card = {"card": str(out.with_suffix(".json"))}
        discriminator = ", its discriminator beside it" if "discriminator" in facts else ""
        beside = f"{discriminator}, and its card to {card['card']}."
    if beside and generator.run.info.get("status") != "done":
        age = f"these are its weights after {generator.checkpoint.state['images']:,} images"
        say(f"The run has not ended: {age}. Export again when it has.", err=True)
    _announce(
        {"out": str(out), "bytes": n_bytes, **card},
        f"Saved to {out} ({n_bytes / 1e6:.1f} MB){beside or '.'}",
        as_json,
    )
