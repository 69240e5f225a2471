"""``ganzoo run``: start a run from a recipe, or go on with one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from ganzoo.api.dataset import ImageDataset
from ganzoo.api.tracker import Tracker
from ganzoo.errors import GanzooError, Interrupted, RunError, Terminated, is_out_of_memory
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.recipes.loading import Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.runs.checkpoint import prune
from ganzoo.runs.environment import environment
from ganzoo.runs.folder import RunFolder
from ganzoo.training.device import resolve_precision
from ganzoo.training.distributed import ALONE, Team
from ganzoo.training.following import tell_checkpoint, tell_task
from ganzoo.training.health import VarietyWatch
from ganzoo.training.session import Session
from ganzoo.training.trainer import Trainer

CHANGEABLE = (
    "train.images",
    "train.until",
    "train.log_every",
    "train.checkpoint_seconds",
    "evaluate.",
    "trackers",
)
"""What ``--set`` may change on resume: nothing that would make the past look different."""


@dataclass(frozen=True)
class Observers:
    """Who watches a run.

    Attributes:
        trackers: Told of every event, besides those that the recipe names.
        tick: Called after each step with the number of images shown.
        say: Called with sentences for the person who waits.
    """

    trackers: Sequence[Tracker] = ()
    tick: Callable[[int], None] = lambda images: None
    say: Callable[[str], None] = lambda sentence: None


def start(
    recipe: Recipe,
    zoo: Zoo,
    out: Path,
    *,
    data_dir: Path | None = None,
    observers: Observers | None = None,
    team: Team = ALONE,
) -> RunFolder:
    """Train a recipe from the beginning.

    Args:
        recipe: A validated recipe.
        zoo: Where its names are looked up.
        out: The run folder to make; new or empty.
        data_dir: Where the user keeps dataset files.
        observers: Who watches.
        team: The processes that train it; this one leads, and the others ``follow``.

    Returns:
        The finished run.
    """
    observers = observers or Observers()
    crew = _crew(recipe, zoo, data_dir, observers, team, recipe.train.precision)
    run = RunFolder.create(out, recipe, _description(recipe, zoo, crew, data_dir))
    with run.claimed():
        run.log({"event": "start", "images": 0})
        tell_checkpoint(team, None)
        return _train(crew, run, zoo, observers, 0.0)


def resume(
    path: Path,
    zoo: Zoo,
    *,
    overrides: Sequence[str] = (),
    observers: Observers | None = None,
    team: Team = ALONE,
) -> RunFolder:
    """Go on with a run from its newest whole checkpoint, to the same bits as if it had never stopped.

    Raises:
        GanzooError: There is no run, it is done, another process trains it, or an override would change its past.
    """
    run = RunFolder.open(path)
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            raise GanzooError(
                f"`{override}` cannot be changed in a run that has begun.",
                f"On resume, --set takes {', '.join(CHANGEABLE)}.",
            )
    with run.claimed():
        return _go_on(run, zoo, overrides, observers or Observers(), team)


def _go_on(run: RunFolder, zoo: Zoo, overrides: Sequence[str], observers: Observers, team: Team) -> RunFolder:
    run.refuse_another_recipe()
    recipe = run.recipe(zoo, overrides)
    for sentence in run.damage():
        observers.say(sentence)
    data_dir = Path(run.info["data_dir"]) if run.info.get("data_dir") else None
    if team.size != run.info.get("processes", 1):
        observers.say("The run goes on with another number of processes, and so to other weights than without a stop.")
    # What `auto` was when the run began: another machine might choose otherwise.
    crew = _crew(recipe, zoo, data_dir, observers, team, run.info.get("precision") or recipe.train.precision)
    seconds = _restore(crew.trainer, run, observers)
    if run.info.get("status") == "done" and crew.trainer.steps >= crew.trainer.total_steps:
        raise GanzooError(f"The run {run.path} is done.", "Train it further with --set train.images=N.")
    if overrides:
        run.replace_recipe(recipe)
    run.update(status="running", environment=environment(crew.trainer.device), processes=team.size)
    run.log({"event": "resume", "images": crew.trainer.images})
    return _train(crew, run, zoo, observers, seconds)


def _restore(trainer: Trainer, run: RunFolder, observers: Observers) -> float:
    """Go back to the newest whole checkpoint, if there is one, and give the training seconds spent until then."""
    checkpoint, damaged = run.find_checkpoint()
    for sentence in damaged:
        observers.say(f"{sentence} Going on from {'an older one' if checkpoint else 'the start'}.")
    tell_checkpoint(trainer.team, checkpoint)
    if checkpoint is None:
        return 0.0
    trainer.restore(checkpoint.tensors, checkpoint.state)
    prune(checkpoint.path)
    return float(checkpoint.state.get("seconds", 0.0))


@dataclass(frozen=True)
class _Crew:
    """Who works on a run."""

    dataset: ImageDataset
    evaluator: Evaluator
    variety: VarietyWatch
    trainer: Trainer


def _crew(recipe: Recipe, zoo: Zoo, data_dir: Path | None, observers: Observers, team: Team, precision: str) -> _Crew:
    """Everybody, also in the other processes; the number format is settled here, so that it is the same in all."""
    device = team.device(recipe.train.device)
    recipe = recipe.in_precision(resolve_precision(precision, device))
    tell_task(team, recipe, data_dir)
    with _memory_told():
        return _gathered(recipe, zoo, data_dir, observers, team, device)


def _gathered(
    recipe: Recipe, zoo: Zoo, data_dir: Path | None, observers: Observers, team: Team, device: torch.device
) -> _Crew:
    """The trainer last: building the others draws random numbers, which must not shift the training's."""
    entry = zoo.datasets.get(recipe.dataset.name)
    dataset = entry.create("train", data_dir, **recipe.dataset.options)
    evaluator = Evaluator(recipe.evaluate.metrics, entry, recipe.dataset.options, data_dir, zoo, device)
    variety = VarietyWatch.of(recipe, zoo, dataset, device)
    trainer = Trainer(recipe, zoo, dataset=dataset, device=device, say=observers.say, team=team)
    return _Crew(dataset, evaluator, variety, trainer)


def _train(crew: _Crew, run: RunFolder, zoo: Zoo, observers: Observers, seconds: float) -> RunFolder:
    trainer = crew.trainer
    named = [
        zoo.trackers.get(component.name).create(run.path, **component.options) for component in trainer.recipe.trackers
    ]
    trackers = [*named, *observers.trackers]
    session = Session(
        trainer, run, crew.evaluator, crew.variety, trackers=trackers, tick=observers.tick, seconds=seconds
    )
    try:
        with _memory_told():
            session.train()
    except (Interrupted, Terminated):
        run.update(status="interrupted", ended=_now())
        raise
    except Exception:
        run.update(status="failed", ended=_now())
        raise
    finally:
        for tracker in trackers:
            tracker.close()
    run.update(
        status="done",
        ended=_now(),
        images=trainer.images,
        seconds=round(session.seconds, 3),
        images_per_second=round(trainer.images / session.seconds, 1) if session.seconds else None,
        reason=session.reached or "all images shown",
        engine=trainer.engine.name,
    )
    return run


@contextmanager
def _memory_told() -> Iterator[None]:
    """Say what to lower where memory does not suffice."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"Memory does not suffice: {' '.join(str(error).split())[:200] or 'the system gives no more'}.",
            "Lower train.batch_size, evaluate.samples or the sizes of the networks; what was saved is not lost.",
        ) from error


def _description(recipe: Recipe, zoo: Zoo, crew: _Crew, data_dir: Path | None) -> dict[str, Any]:
    trainer, dataset = crew.trainer, crew.dataset
    return {
        "recipe": recipe.name,
        "status": "running",
        "started": _now(),
        "seed": recipe.train.seed,
        "data_dir": str(data_dir.resolve()) if data_dir else None,
        "shape": list(dataset.shape),
        "modality": dataset.modality.name,
        "columns": {name: list(shape) for name, shape in dataset.column_shapes},
        "classes": len(dataset.classes),
        "class_names": list(dataset.classes),
        "engine": trainer.engine.name,
        "processes": trainer.team.size,
        "precision": trainer.precision,
        "parameters": trainer.assembly.parameter_counts(),
        "plugins": {plugin.name: plugin.distribution for plugin in zoo.plugins},
        "environment": environment(trainer.device),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
