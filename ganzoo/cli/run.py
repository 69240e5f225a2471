"""``ganzoo run``: train a recipe."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ganzoo.cli.terminal import (
    AllowCode,
    AllowPaths,
    AllowTrackers,
    AsJson,
    DataDir,
    load_zoo_and_warn,
    print_json,
    say,
)
from ganzoo.errors import Diverged, GanzooError, Interrupted, Terminated
from ganzoo.files import child_python

if TYPE_CHECKING:
    from ganzoo.config.schema import Recipe
    from ganzoo.registry.loading import Zoo
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.loop import Callbacks


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name (`ganzoo list recipes`) or a YAML file; with --data, also a name without its "
            "dataset, such as dcgan, or nothing, which is `pictures`."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Train on your own pictures: a folder or zip archive (subfolders are classes), or a folder of "
            "sources and targets. With --resume: where the run's pictures are now."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", help="Override a value: --set train.images=20000", metavar="KEY=VALUE")
    ] = None,
    init_from: Annotated[
        str | None,
        typer.Option(help="Start from the weights of a run folder or of zoo:NAME, to fine-tune them.", metavar="RUN"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Shorthand for --set train.seed=N.", min=0, max=2**63 - 1)] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The run folder to create; runs/NAME by default, or runs/NAME-2 if that is taken."),
    ] = None,
    resume: Annotated[Path | None, typer.Option(help="Resume the run in this folder.")] = None,
    continue_: Annotated[
        bool, typer.Option("--continue", help="With --out: start the run, resume it, or exit with 0 if it is done.")
    ] = False,
    data_dir: DataDir = None,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    allow_trackers: AllowTrackers = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Also serve a page that follows the training: `ganzoo watch`.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, score it, and save everything in a run folder.

    To train one run with several processes, use torchrun: torchrun --nproc-per-node 2 -m ganzoo run RECIPE
    """
    import ganzoo.runs.start as runs
    from ganzoo.cli.console import RunProgress
    from ganzoo.config.loading import FOR_PICTURES, load_recipe, names_trackers, recipe_for
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.strict import quoted
    from ganzoo.runs.folder import Reader, RunFolder
    from ganzoo.training.distributed import ProcessLost, joined

    if recipe is None and data is not None and resume is None:
        recipe = FOR_PICTURES
    if continue_ and (out is None or recipe is None or resume is not None):
        raise GanzooError(
            "--continue needs a recipe and --out.", "For example: ganzoo run RECIPE --out DIR --continue."
        )
    # Before --set, which may add to it: --set train.init_from.sha256=...
    overrides = [] if init_from is None else [f"train.init_from={quoted(init_from)}"]
    overrides += set_ or ()
    shorthands = {"train.seed": seed, "train.device": device}
    overrides += [f"{key}={quoted(value)}" for key, value in shorthands.items() if value is not None]
    allow_trackers = allow_trackers or names_trackers(overrides)
    with joined() as processes:
        if not processes.is_main:
            try:
                runs.take_part(load_zoo(), processes)
            except (Diverged, Interrupted, ProcessLost, Terminated) as error:
                raise SystemExit(error.exit_code) from None  # the main process reports it
            return
        with RunProgress() as progress:
            zoo = load_zoo_and_warn()
            callbacks = progress.callbacks()
            if watch:
                callbacks = watched(callbacks, progress.say)
            begun: RunFolder | None = None
            changes: list[str] | None = overrides
            if resume is not None:
                if out is not None and out != resume:
                    raise GanzooError(
                        "--out and --resume name different folders.",
                        "A resumed run stays in its own folder: drop --out.",
                    )
                begun = RunFolder.open(resume)
                if recipe is not None and begun.info["recipe"] not in (recipe, Path(recipe).stem):
                    raise GanzooError(
                        f"The run {resume} trains the recipe '{begun.info['recipe']}', not '{recipe}'.",
                        "Give --resume alone, or start a new run.",
                    )
            elif recipe is None:
                raise GanzooError("`ganzoo run` needs a recipe.", "See `ganzoo list recipes`, or give --data FOLDER.")
            else:
                requested = (
                    load_recipe(recipe, zoo, overrides) if data is None else recipe_for(data, recipe, zoo, overrides)
                )
                # Without a run.json, there are only the remains of a killed process, if anything.
                if continue_ and out is not None and (out / "run.json").exists():
                    begun, data = RunFolder.open(out), None
                    # Its dataset is the one that this command names, so only a --data-dir that it does not repeat is a
                    # stranger's.
                    if data_dir is not None or begun.info.get("data_dir") is None:
                        begun.reader = Reader(data_dir, anywhere=True)
                    changes = continuation(begun, requested, zoo)
            if begun is None:
                finished = runs.start(
                    requested,
                    zoo,
                    out,
                    data_dir=data_dir,
                    callbacks=callbacks,
                    processes=processes,
                    allow_trackers=allow_trackers,
                )
            elif changes is None:
                processes.broadcast_bytes()  # the others have nothing to train
                finished = begun
            else:
                finished = runs.resume(
                    begun,
                    zoo,
                    overrides=changes,
                    pictures=data,
                    callbacks=callbacks,
                    processes=processes,
                    allow_trackers=allow_trackers,
                )
    if as_json:
        facts = {key: finished.info.get(key) for key in ("recipe", "status", "images", "seconds", "images_per_second")}
        print_json({"run": str(finished.path), **facts, "scores": finished.final_scores()})
    elif changes is None:
        say(f"The run {out} is done.", err=True)
    else:
        progress.summarise(finished)


def watched(callbacks: Callbacks, say: Callable[[str], None]) -> Callbacks:
    """Callbacks that also start `ganzoo watch`, a process of its own; what it says, such as its address, is passed on.

    It ends after this process, when its standard input does. Ctrl-C, which only a terminal's foreground processes
    receive, leaves it alone, so that the page still shows what is saved last.
    """

    def begin(recipe: Recipe, folder: Path) -> None:
        callbacks.on_begin(recipe, folder)
        command = child_python("ganzoo", "watch", "--until-eof", "--", str(folder))
        child = subprocess.Popen(  # noqa: S603
            command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

        def pass_on() -> None:
            for line in child.stderr or ():
                say(line.rstrip())

        threading.Thread(target=pass_on, daemon=True).start()

    return replace(callbacks, on_begin=begin)


def continuation(run: RunFolder, requested: Recipe, zoo: Zoo) -> list[str] | None:
    """What the command changes in the run that it continues; None if that is done, and gets no more scores."""
    from ganzoo.registry.strict import quoted
    from ganzoo.runs.start import changed_settings

    recorded, changed = run.recipe(zoo), changed_settings(run, requested, zoo)
    trains_further = any(key.startswith(("train.images", "train.until")) for key in changed)
    if run.info["status"] == "done" and not trains_further:
        metrics, others = set(requested.evaluate.metrics), {"evaluate.samples", "evaluate.anyway"}
        rescored = metrics - set(recorded.evaluate.metrics) or (metrics and changed.keys() & others)
        # A run that a score has ended would continue training.
        scores_more = bool(rescored) and recorded.train.until is None
        kept = {key: value for key, value in changed.items() if scores_more and key.startswith("evaluate.")}
        if ignored := [key for key in changed if key not in kept]:
            say(f"The run {run.path} is done, so these changes have no effect: {', '.join(ignored)}.", err=True)
        if not kept:
            return None
        changed = kept
    return [f"{key}={quoted(value)}" for key, value in changed.items()]
