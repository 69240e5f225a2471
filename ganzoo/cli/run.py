"""``ganzoo run``: train a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ganzoo.cli.terminal import (
    AllowCode,
    AllowPaths,
    AllowTrackers,
    AsJson,
    DataDir,
    print_json,
    say,
    warn_of_problems,
)
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.config.schema import Recipe
    from ganzoo.registry.loading import Zoo
    from ganzoo.runs.folder import RunFolder
    from ganzoo.training.distributed import Processes


NEW, DONE, RESCORED = "new", "done", "rescored"
"""Status of a folder without a run, of a finished run, and of a finished run that gets more scores."""


def run(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="A recipe's name (`ganzoo list recipes`) or a YAML file; with --data, also a name without its "
            "dataset, such as dcgan."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Train on your own pictures: a folder (subfolders are classes) or a zip archive. With --resume: where "
            "the run's pictures are now."
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Override a value: --set train.images=20000", metavar="KEY=VALUE"),
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
        bool,
        typer.Option("--continue", help="With --out: start the run, resume it, or exit with 0 if it is done."),
    ] = False,
    data_dir: DataDir = None,
    profile: Annotated[bool, typer.Option("--profile", help="Report where the time in a training step goes.")] = False,
    allow_code: AllowCode = False,
    allow_paths: AllowPaths = False,
    allow_trackers: AllowTrackers = False,
    as_json: AsJson = False,
) -> None:
    """Train a recipe, score it, and save everything in a run folder.

    To train one run with several processes, use torchrun: torchrun --nproc-per-node 2 -m ganzoo run RECIPE
    """
    from ganzoo.cli.console import RunProgress
    from ganzoo.config.loading import names_trackers
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.strict import quoted
    from ganzoo.runs.folder import RunFolder, free_folder, reading
    from ganzoo.runs.start import resume as resume_run
    from ganzoo.runs.start import start
    from ganzoo.training.distributed import joined

    if profile and resume is not None:
        raise GanzooError("--profile looks at the first steps of a run.", "Give a recipe instead of --resume.")
    if profile and continue_:
        # Refused now rather than when the same command resumes the run later, perhaps unattended.
        raise GanzooError(
            "--profile looks at the first steps of a run, and --continue may resume one.", "Leave one of the two out."
        )
    if continue_ and (out is None or recipe is None or resume is not None):
        raise GanzooError(
            "--continue needs a recipe and --out.", "For example: ganzoo run RECIPE --out DIR --continue."
        )
    if init_from is not None and resume is not None:
        raise GanzooError("--init-from starts a new run.", "A resumed run continues with its own weights: drop it.")
    # Before --set, which may add to it: --set train.init_from.sha256=...
    overrides = [] if init_from is None else [f"train.init_from={quoted(init_from)}"]
    overrides += set_ or ()
    if seed is not None:
        overrides.append(f"train.seed={seed}")
    if device is not None:
        overrides.append(f"train.device={quoted(device)}")
    allow_trackers = allow_trackers or names_trackers(overrides)
    with joined() as processes:
        status, changed, refused = NEW, list[str](), None
        if continue_ and out is not None and recipe is not None:
            if processes.is_main:
                try:
                    status, changed = _continuation(out, recipe, data, overrides)
                except GanzooError as error:  # the other processes must end too
                    status, refused = DONE, error
            # Use the status that the main process sees: a new folder may become visible to others late.
            status = processes.broadcast_bytes(status.encode()).decode()
            if refused is not None:
                raise refused
        if not processes.is_main:
            if status != DONE:
                _take_part(processes, resuming=resume is not None or status != NEW)
            return
        if status == DONE and out is not None:
            if as_json:
                print_json(outcome(RunFolder.open(out)))
            else:
                say(f"The run {out} is done.", err=True)
            return
        if profile and processes.size > 1:
            raise GanzooError("--profile looks at a single process.", "Leave it out, or start without torchrun.")
        with RunProgress() as progress:
            zoo = load_zoo()
            warn_of_problems(zoo)
            if status != NEW and out is not None:
                resume, recipe, out, overrides = out, None, None, changed
            if resume is not None:
                begun = _opened(resume, recipe, out)
                progress.begin(begun.recipe(zoo, overrides), resume)
                # With --continue, the run's dataset is the one that this command names, so only a --data-dir that it
                # does not repeat is a stranger's.
                named = continue_ and (data_dir is not None or begun.info.get("data_dir") is None)
                with reading(anywhere=named):
                    finished = resume_run(
                        resume,
                        zoo,
                        overrides=overrides,
                        pictures=None if continue_ else data,
                        callbacks=progress.callbacks(),
                        processes=processes,
                        allow_trackers=allow_trackers,
                    )
            elif recipe is not None:
                resolved = _recipe(recipe, data, overrides, zoo)
                folder = out or free_folder(resolved.name)
                if out is not None:
                    RunFolder.refuse_used(out)
                progress.begin(resolved, folder)
                finished = start(
                    resolved,
                    zoo,
                    folder,
                    data_dir=data_dir,
                    callbacks=progress.callbacks(),
                    processes=processes,
                    profile=profile,
                    elsewhere=out is None,
                    announce=_length_is_unknown(resolved, overrides) and processes.size == 1,
                    allow_trackers=allow_trackers,
                )
            else:
                raise GanzooError("`ganzoo run` needs a recipe.", "See `ganzoo list recipes`, or give --resume RUN.")
    assert finished is not None
    if as_json:
        print_json(outcome(finished))
    else:
        progress.summarise(finished)


def outcome(finished: RunFolder) -> dict[str, Any]:
    """Facts about a finished run, for scripts: ``{"run", "images", ..., "scores": [the final ones]}``."""
    facts = {key: finished.info.get(key) for key in ("recipe", "status", "images", "seconds", "images_per_second")}
    return {"run": str(finished.path), **facts, "scores": finished.final_scores()}


def _take_part(processes: Processes, *, resuming: bool) -> None:
    """Train alongside the main process, which alone writes to the folder and reports the errors of all processes."""
    from ganzoo.errors import Diverged, Interrupted, Terminated
    from ganzoo.registry.loading import load_zoo
    from ganzoo.runs.start import resume, start
    from ganzoo.training.distributed import ProcessLost

    try:
        if resuming:
            resume(None, load_zoo(), processes=processes)
        else:
            start(None, load_zoo(), None, processes=processes)
    except (Diverged, Interrupted, ProcessLost, Terminated) as error:
        raise SystemExit(error.exit_code) from None


def _recipe(recipe: str, data: Path | None, overrides: list[str], zoo: Zoo) -> Recipe:
    """The recipe that the command names, on the user's own pictures if it names some."""
    from ganzoo.config.loading import load_recipe, recipe_for

    return load_recipe(recipe, zoo, overrides) if data is None else recipe_for(data, recipe, zoo, overrides)


def _length_is_unknown(recipe: Recipe, overrides: list[str]) -> bool:
    """Whether the run is on the user's own pictures with no length chosen: the recipe's may be too long for them."""
    from ganzoo.config.loading import OWN_PICTURES

    chosen = any(override.startswith(("train.images=", "train=")) for override in overrides)
    return recipe.dataset.name == OWN_PICTURES and not chosen


def _continuation(folder: Path, recipe: str, data: Path | None, overrides: list[str]) -> tuple[str, list[str]]:
    """The status of the run to continue, and what the command changes in it.

    Raises:
        GanzooError: The command's settings would give other weights.
    """
    from ganzoo.config.identity import same_training
    from ganzoo.registry.loading import load_zoo
    from ganzoo.registry.strict import quoted
    from ganzoo.runs.folder import RunFolder
    from ganzoo.runs.start import CHANGEABLE
    from ganzoo.runs.weights import differing, pinned_as_recorded

    if not (folder / "run.json").exists():  # no run yet, or only the remains of a killed process
        return NEW, []
    run, zoo = RunFolder.open(folder), load_zoo()
    status, recorded = str(run.info.get("status")), run.recipe(zoo)
    requested = pinned_as_recorded(_recipe(recipe, data, overrides, zoo), recorded, zoo)
    if not same_training(requested, recorded):
        raise GanzooError(
            f"The run {folder} was started with other settings.", "Give another --out, or the same command as before."
        )
    differences = differing(recorded.plain(), requested.plain())
    changed = {key: value for key, value in differences if key.startswith(CHANGEABLE)}
    ignored = list[str]()
    if status == DONE:
        metrics = requested.evaluate.metrics
        more = set(metrics) - set(recorded.evaluate.metrics)
        rescored = bool(more or (metrics and changed.keys() & {"evaluate.samples", "evaluate.anyway"}))
        # A run that a score has ended would continue training.
        rescored = rescored and recorded.train.until is None
        ignored = [key for key in changed if not (rescored and key.startswith("evaluate."))]
        status = RESCORED if rescored else DONE
    if ignored:
        say(f"The run {folder} is done, so these changes have no effect: {', '.join(ignored)}.", err=True)
    return status, [f"{key}={quoted(value)}" for key, value in changed.items() if key not in ignored]


def _opened(path: Path, recipe_name: str | None, out: Path | None) -> RunFolder:
    """The run to resume.

    Raises:
        GanzooError: It is not a run, or the command also names another folder or recipe.
    """
    from ganzoo.runs.folder import RunFolder

    if out is not None and out != path:
        raise GanzooError(
            "--out and --resume name different folders.", "A resumed run stays in its own folder: drop --out."
        )
    run = RunFolder.open(path)
    if recipe_name is not None and run.info["recipe"] not in (recipe_name, Path(recipe_name).stem):
        raise GanzooError(
            f"The run {path} trains the recipe '{run.info['recipe']}', not '{recipe_name}'.",
            "Give --resume alone, or start a new run.",
        )
    return run
