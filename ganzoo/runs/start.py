"""``ganzoo run``: start a run from a recipe, or resume one.

If several processes train one run, all of them run this code. Only the main process writes, and it sends the others
what only it knows: the recipe and the checkpoint.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.api.tracker import Tracker
from ganzoo.build import build_objective, build_spec
from ganzoo.config.loading import OWN_PICTURES, parse_recipe
from ganzoo.config.schema import MAX_THREADS, Recipe
from ganzoo.data import load_part, part_of
from ganzoo.errors import GanzooError, Interrupted, RunError, Terminated, is_out_of_memory, one_line
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.requests import fitting_metrics, written
from ganzoo.registry.loading import Zoo
from ganzoo.registry.strict import quoted
from ganzoo.runs.checkpoint import prune
from ganzoo.runs.folder import RunFolder, free_folder
from ganzoo.runs.loop import Callbacks, ContainedTracker, Parts, TrainingLoop
from ganzoo.runs.provenance import (
    changed_plugins,
    changes,
    data_digest,
    description,
    environment,
    now,
    refuse_other_data,
)
from ganzoo.runs.weights import initialise, pinned
from ganzoo.training.device import resolve_precision, use_available_cores
from ganzoo.training.distributed import ALONE, Processes
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import EngineChoice, ThreadTuner, recorded_engine, settle_engine

logger = logging.getLogger(__name__)

CHANGEABLE = (
    "train.device",
    "train.engine",
    "train.images",
    "train.until",
    "train.keep_best",
    "train.log_every",
    "train.checkpoint_seconds",
    "evaluate.",
    "trackers",
)
"""What ``--set`` may change on resume: nothing that would contradict the steps already taken. Another device or engine
may round differently from then on, but the meaning of a recipe does not depend on it."""
REHEARSED, REHEARSED_SECONDS = 20, 2.0
"""The most steps, and the most seconds, to time in order to estimate how long a run will take."""


@contextmanager
def _threads_restored() -> Iterator[None]:
    """Restore the number of CPU threads after a run, so that it does not affect the next run in this process."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
        use_available_cores()


def warn_of_network_trackers(recipes: Iterable[Recipe], zoo: Zoo) -> list[str]:
    """The trackers that are left out where nobody has allowed them, each after a warning: see ``Tracker.network``."""
    named = dict.fromkeys(component.name for recipe in recipes for component in recipe.trackers)
    # What a function makes is unknown before it is made.
    found = [name for name in named if getattr(zoo.trackers.get(name).factory, "network", True)]
    for name in found:
        logger.warning(
            "The tracker '%s' is left out, since it may send this run over a network in your name. If that is what you "
            "want, add --allow-trackers (in Python: allow_trackers=True), each time that you resume it too.",
            name,
        )
    return found


@_threads_restored()
def start(
    recipe: Recipe | None,
    zoo: Zoo,
    out: Path | None,
    *,
    data_dir: Path | None = None,
    dataset: Dataset | None = None,
    callbacks: Callbacks | None = None,
    processes: Processes = ALONE,
    profile: bool = False,
    announce: bool = False,
    elsewhere: bool = False,
    allow_trackers: bool = False,
) -> RunFolder | None:
    """Train a recipe from the beginning.

    Args:
        recipe: A validated recipe; None in processes that are not main, which receive it from the main process.
        zoo: Where its names are looked up.
        out: The run folder to create, new or empty; None in processes that are not main.
        data_dir: Where the user keeps dataset files.
        dataset: Training images to use instead of the recipe's own, only with a single process.
        callbacks: Receive progress.
        processes: The processes that train together.
        profile: Report where the time of a step goes, once training is under way, and log it as an event ``profile``,
            only with a single process.
        announce: Report the expected duration before the training starts, only with a single process.
        elsewhere: Take the recipe's next free folder if another process has taken ``out`` in the meantime.
        allow_trackers: Whether the recipe's trackers may talk to a network.

    Returns:
        The finished run; None in processes that are not main.
    """
    callbacks = callbacks or Callbacks()
    if out is not None and not elsewhere:
        RunFolder.refuse_used(out)
    recipe, weights = (None, {}) if recipe is None else pinned(recipe, zoo)
    resolved, data_dir = _shared_task(recipe, data_dir, zoo, processes)
    use_available_cores(resolved.train.threads)
    parts = _build(resolved, zoo, data_dir, dataset, callbacks, processes)
    if out is not None and dataset is None and resolved.dataset.name == OWN_PICTURES:
        callbacks.log(_pictures_in_words(resolved, zoo, data_dir, parts.dataset))
    if resolved.train.init_from is not None:
        weights = weights if processes.size == 1 else load_tensors(processes.broadcast_bytes(save_tensors(weights)))
        initialise(parts.trainer, weights, resolved.train.init_from.source, callbacks.log)
    with _out_of_memory_as_sentence():
        choice = settle_engine(parts.trainer, callbacks.log)
        # The initial weights are saved immediately, because their source may be gone when the run is resumed.
        first = None if resolved.train.init_from is None else parts.trainer.checkpoint()
    tuner = ThreadTuner(parts.trainer, log=callbacks.log)
    if recipe is None or out is None:
        return _train(parts, None, zoo, callbacks, tuner)
    # The folder's recipe is as requested; what `auto` resolved to is provenance, in run.json.
    facts = description(zoo, parts.trainer, parts.dataset, data_dir)
    if choice is not None:
        facts["engine_choice"] = choice.plain()
    run = _create_where_free(out, recipe, facts, callbacks) if elsewhere else RunFolder.create(out, recipe, facts)
    with run.claimed():
        run.accept_paths(recipe, data_dir)
        run.log({"event": "start", "images": 0})
        return _train(
            parts,
            run,
            zoo,
            callbacks,
            tuner,
            profile=profile,
            announce=announce,
            is_new=True,
            first=first,
            allow_trackers=allow_trackers,
        )


@_threads_restored()
def resume(
    path: Path | None,
    zoo: Zoo,
    *,
    overrides: Sequence[str] = (),
    pictures: Path | None = None,
    dataset: Dataset | None = None,
    callbacks: Callbacks | None = None,
    processes: Processes = ALONE,
    allow_trackers: bool = False,
) -> RunFolder | None:
    """Resume a run from its newest intact checkpoint; on the same hardware, bit for bit as if it had never stopped.

    If its plugins, torch, training images or hardware have changed since it began, it reports this and continues.

    Args:
        path: The run folder; None in processes that are not main, which receive its checkpoint from the main process.
        zoo: Where the recipe's names are looked up.
        overrides: Changes of the form ``a.b=c``, only of keys in ``CHANGEABLE``.
        pictures: Where the user's own pictures, which the run trains on, are now.
        dataset: Training images to use instead of the recipe's own, only with a single process.
        callbacks: Receive progress.
        processes: The processes that train together.
        allow_trackers: Whether the run's trackers may talk to a network.

    Raises:
        GanzooError: It is not a run, it is done, another process trains it, an override cannot be changed on resume,
            its data has another shape or other classes, or ``pictures`` are others than it began with.
    """
    callbacks = callbacks or Callbacks()
    run = RunFolder.open(path) if path is not None else None
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            raise GanzooError(
                f"`{override}` cannot be changed after a run has started.",
                f"On resume, --set takes {', '.join(CHANGEABLE).replace('evaluate.', 'evaluate.*')}.",
            )
    with run.claimed() if run is not None else nullcontext():
        recipe = data_dir = None
        if run is not None:
            if pictures is not None:
                recorded = run.recipe(zoo)
                if recorded.dataset.name != OWN_PICTURES:
                    raise GanzooError(
                        f"The run {run.path} trains on '{recorded.dataset.name}', not on pictures from a folder.",
                        "Leave --data out.",
                    )
                overrides = [*overrides, f"dataset.path={quoted(str(pictures.expanduser().absolute()))}"]
            recipe = _as_recorded(run, run.recipe(zoo, overrides), processes)
            if recipe.trackers:
                run.refuse_links_of_trackers()
            # The pictures' absolute path, which the user has just named, is all that such a dataset reads.
            data_dir = run.data_dir(recipe) if dataset is None and pictures is None else None
            if processes.size != run.info.get("processes", 1):
                callbacks.log("The number of processes has changed, so the weights will differ from an unbroken run's.")
        shared, data_dir = _shared_task(recipe, data_dir, zoo, processes)
        use_available_cores(shared.train.threads)
        parts = _build(shared, zoo, data_dir, dataset, callbacks, processes, run)
        if run is not None and pictures is not None and data_digest(parts.dataset) != run.info.get("data_digest"):
            raise GanzooError(
                f"The pictures in {pictures} are not those that the run {run.path} began with.",
                "Give the place that they were moved to, or start a new run.",
            )
        with _out_of_memory_as_sentence():
            state = _restore(parts.trainer, run, zoo, callbacks)
            choice = settle_engine(parts.trainer, callbacks.log)
        length: dict[str, int] = {}
        if run is not None:
            done = run.info.get("status") == "done" and parts.trainer.steps >= parts.trainer.total_steps
            # Another metric only scores the saved weights, and another place is only recorded; neither needs training.
            if done and not any(override.startswith(("evaluate.", "dataset.path=")) for override in overrides):
                raise GanzooError(
                    f"The run {run.path} is done.",
                    "Train further with --set train.images=N, or score more with --set evaluate.metrics=[...].",
                )
            before, after = run.recipe(zoo).train.images, shared.train.images
            if before != after:
                length = {"train_images": after, "train_images_before": before}
                _refuse_or_warn_of_another_length(parts.trainer, callbacks)
            if overrides:
                run.replace_recipe(run.recipe(zoo, overrides))
            if dataset is None:
                run.accept_paths(shared, data_dir)
        most = torch.get_num_threads()
        planned = _resume_threads(run, state, processes, callbacks)
        if run is not None:
            changed = changed_plugins(run.info, shared, zoo)
            plugins = {"plugins": changed} if changed else {}
            _record_resumption(run, parts, choice, zoo, callbacks)
            run.forget_scores_after(parts.trainer.images)
            resumed = {"event": "resume", "images": parts.trainer.images, "planned_threads": planned}
            run.log({**resumed, **length, **plugins})
        tuner = ThreadTuner(parts.trainer, most, planned, callbacks.log)
        seconds = float(state.get("seconds", 0.0))
        return _train(parts, run, zoo, callbacks, tuner, seconds, allow_trackers=allow_trackers)


def _shared_task(
    recipe: Recipe | None, data_dir: Path | None, zoo: Zoo, processes: Processes
) -> tuple[Recipe, Path | None]:
    """The main process's recipe, with its precision resolved, and its data folder, for all processes."""
    if recipe is not None:
        precision = resolve_precision(recipe.train.precision, processes.device(recipe.train))
        resolved = recipe.with_train(precision=precision)
        task = {
            "name": recipe.name,
            "recipe": resolved.to_yaml(),
            "data_dir": str(data_dir) if data_dir else None,
        }
        processes.broadcast_bytes(json.dumps(task).encode())
        return resolved, data_dir
    task = json.loads(processes.broadcast_bytes())
    return parse_recipe(task["recipe"], task["name"], zoo), Path(task["data_dir"]) if task["data_dir"] else None


def _build(
    recipe: Recipe,
    zoo: Zoo,
    data_dir: Path | None,
    dataset: Dataset | None,
    callbacks: Callbacks,
    processes: Processes,
    resumed: RunFolder | None = None,
) -> Parts:
    """Build the parts of a run, the trainer last: building the others must not shift its random numbers."""
    device = processes.device(recipe.train)
    with _out_of_memory_as_sentence():
        entry, options = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options
        validation, count = recipe.dataset.validation, recipe.dataset.count

        def part(name: Part) -> Dataset:
            if dataset is None:
                return load_part(entry, options, data_dir, name, validation, count)
            return dataset if name == "test" else part_of(dataset, name, validation, count)

        train = part("train")
        if resumed is not None:
            refuse_other_data(resumed.info, train, recipe)
        metrics, sentences, extractors = fitting_metrics(
            recipe.evaluate.metrics, zoo, train, anyway=recipe.evaluate.anyway
        )
        needed = [(one.metric, "train.until waits for", "Wait for another score.") for one in recipe.train.conditions]
        if recipe.train.keep_best is not None:
            needed.append((recipe.train.keep_best, "train.keep_best names", "Name another score."))
        for metric, what, remedy in needed:
            if metric not in metrics:
                reason = next(one for one in sentences if f"{metric}," in one or f"{metric}:" in one)
                raise GanzooError(f"{what} '{metric}'. {reason}", remedy)
        for sentence in sentences:
            callbacks.log(sentence)
        objective = build_objective(recipe, zoo)
        objective.spec = build_spec(recipe, zoo, train.modality, len(train.classes), train.column_shapes)
        evaluator = Evaluator(
            metrics,
            entry if dataset is None else dataset,
            options,
            data_dir,
            zoo,
            device,
            split=recipe.dataset.scored_split,
            validation=validation,
            count=count,
            anyway=recipe.evaluate.anyway,
            reference=processes.is_main and bool(metrics),
            objective=objective,
            extractors=extractors,
        )
        if processes.is_main and metrics:
            evaluator.refuse_too_few(recipe.evaluate.samples)
        trainer = Trainer(recipe, zoo, dataset=train, device=device, log=callbacks.log, processes=processes)
        sources = {}
        if trainer.objective.generates_from:
            columns = part(recipe.dataset.scored_split).columns
            sources = {name: columns[name] for name in trainer.objective.generates_from}
    return Parts(train, sources, evaluator, trainer)


def _create_where_free(out: Path, recipe: Recipe, facts: Mapping[str, Any], callbacks: Callbacks) -> RunFolder:
    """Create the run in a folder, or in the recipe's next free one if another process was faster."""
    while True:
        try:
            return RunFolder.create(out, recipe, facts)
        except GanzooError:
            other = free_folder(recipe.name)
            if not out.exists() or other == out:
                raise
            callbacks.log(f"Another run has taken {out} in the meantime. Run folder: {other}")
            out = other


def _as_recorded(run: RunFolder, recipe: Recipe, processes: Processes) -> Recipe:
    """A run's recipe with `auto` as resolved when it began: another machine might choose differently."""
    device = processes.device(recipe.train)
    recipe = recipe.with_train(precision=run.info.get("precision") or recipe.train.precision)
    if recipe.train.precision == "tf32" and device.type != "cuda":
        recipe = recipe.with_train(precision="fp32")
    if recipe.train.engine == "auto":
        recipe = recipe.with_train(engine=recorded_engine(run.info, device, processes.size) or "auto")
    return recipe


def _restore(trainer: Trainer, run: RunFolder | None, zoo: Zoo, callbacks: Callbacks) -> Mapping[str, Any]:
    """Go back to the newest intact checkpoint; returns its JSON state, empty if there is none."""
    processes = trainer.processes
    checkpoint, state, tensors = None, None, {}
    if run is not None:
        checkpoint, damaged = run.find_checkpoint()
        for sentence in damaged:
            callbacks.log(f"{sentence} Resuming from {'an older one' if checkpoint else 'the start'}.")
        if checkpoint is not None:
            state, tensors = checkpoint.state, checkpoint.tensors
    if processes.size > 1:
        state = json.loads(processes.broadcast_bytes(json.dumps(state).encode()))
        content = processes.broadcast_bytes(save_tensors(tensors) if tensors else b"")
        tensors = tensors or (load_tensors(content) if content else {})
    if state is None:
        if (start_from := trainer.recipe.train.init_from) is not None:
            weights: dict[str, Tensor] = {}
            if run is not None:
                with suppress(GanzooError):
                    weights = pinned(trainer.recipe, zoo)[1]
            if processes.size > 1:
                content = processes.broadcast_bytes(save_tensors(weights) if weights else b"")
                weights = load_tensors(content) if content else {}
            if not weights:
                raise GanzooError(
                    f"The run was killed before it had saved the weights of {start_from.source}, which are gone.",
                    "Start it again with another --out (in Python out=...).",
                )
            initialise(trainer, weights, start_from.source, callbacks.log)
        return {}
    trainer.restore(tensors, state)
    if checkpoint is not None:
        prune(checkpoint.path)
    return state


def _refuse_or_warn_of_another_length(trainer: Trainer, callbacks: Callbacks) -> None:
    """Check a run that is resumed with another ``train.images``: its steps so far were not those of this length.

    Raises:
        GanzooError: The run has already shown more images.
    """
    recipe, phases = trainer.recipe, [step.phase for group in trainer.step_groups for step in group.phases]
    if recipe.train.images < trainer.images:
        raise GanzooError(
            f"The run has shown {trainer.images:,} images, more than train.images={recipe.train.images}.",
            f"Give train.images={trainer.images} to end it here, or a larger number.",
        )
    if recipe.follows_length or any((phase.begin, phase.end) != (0, 1) for phase in phases):
        callbacks.log(
            f"From here on, everything that depends on train.images (learning rates, schedules, phases) is set for "
            f"{recipe.train.images:,} images, so this run is not equal to an uninterrupted one of that length."
        )


def _resume_threads(
    run: RunFolder | None, state: Mapping[str, Any], processes: Processes, callbacks: Callbacks
) -> list[tuple[int, int]]:
    """Train with as many CPU threads as the run had at its checkpoint: summing in another order changes bits.

    Returns:
        The changes after the checkpoint, which must be repeated: images shown, and the number of threads from there on.
    """
    recorded = {} if run is None else run.info.get("environment") or {}
    threads = state.get("threads", recorded.get("threads"))
    known = isinstance(threads, int) and 1 <= threads <= MAX_THREADS
    # Only the main process can read what the run began with.
    (most,) = processes.all_reduce_max([float(threads) if known else 0.0])
    threads = int(most)
    if threads and threads != torch.get_num_threads():
        callbacks.log(f"Resuming with {threads} CPU thread{'' if threads == 1 else 's'}, as the run had before.")
        torch.set_num_threads(threads)
    planned: list[tuple[int, int]] = []
    for event in () if run is None else run.events():
        if event["event"] == "resume":
            planned = [(images, threads) for images, threads in event.get("planned_threads", [])]
        elif event["event"] == "threads":
            planned.append((event["images"], event["threads"]))
    return [(images, threads) for images, threads in planned if images > state.get("images", 0)]


def _record_resumption(
    run: RunFolder, parts: Parts, choice: EngineChoice | None, zoo: Zoo, callbacks: Callbacks
) -> None:
    """Record what the run continues with, and report what has changed since it began."""
    trainer = parts.trainer
    current = environment(trainer.device)
    for sentence in changes(run.info, current, trainer.recipe, zoo, data_digest(parts.dataset)):
        callbacks.log(one_line(sentence))
    run.update(
        status="running",
        environment=current,
        began_with=run.info.get("began_with") or run.info.get("environment"),
        precision=trainer.precision,
        engine=trainer.engine.name,
        processes=trainer.processes.size,
        **({"engine_choice": choice.plain()} if choice is not None else {}),
    )


def _train(
    parts: Parts,
    run: RunFolder | None,
    zoo: Zoo,
    callbacks: Callbacks,
    tuner: ThreadTuner,
    seconds: float = 0.0,
    *,
    profile: bool = False,
    announce: bool = False,
    is_new: bool = False,
    first: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
    allow_trackers: bool = False,
) -> RunFolder | None:
    trainer = parts.trainer
    if run is None:
        with _out_of_memory_as_sentence():
            TrainingLoop(parts, None, (), Callbacks(), seconds, tuner).train()
        return None
    # Closed last, after the status is on disk: a tracker's upload may take a long time.
    with ExitStack() as closing:
        trackers: list[Tracker] = []
        tracked = False

        def add(tracker: Tracker, name: str) -> None:
            trackers.append(ContainedTracker(tracker, name, callbacks.log))
            closing.callback(trackers[-1].close)

        for tracker in callbacks.trackers:
            add(tracker, type(tracker).__name__)
        try:
            left_out = () if allow_trackers else warn_of_network_trackers([trainer.recipe], zoo)
            for component in trainer.recipe.trackers:
                if component.name not in left_out:
                    add(zoo.trackers.get(component.name).create(run.path, **component.options), component.name)
            tracked = True
            if first is not None:  # not earlier, because a folder with a checkpoint is not discarded
                run.save_checkpoint(*first)
            loop = TrainingLoop(parts, run, trackers, callbacks, seconds, tuner, profile)
            with _out_of_memory_as_sentence():
                if announce:
                    callbacks.log(_announcement(trainer))
                loop.train()
        except (Interrupted, Terminated):
            run.update(status="interrupted", ended=now())
            raise
        except Exception:
            if is_new and not tracked:  # the corrected command should find the folder free
                closing.close()
                run.discard()
            else:
                run.update(status="failed", ended=now())
            raise
        run.update(
            status="done",
            ended=now(),
            images=trainer.images,
            seconds=round(loop.seconds, 3),
            images_per_second=round(trainer.images / loop.seconds, 1) if loop.seconds else None,
            reason=loop.reached or "all images shown",
            engine=trainer.engine.name,
        )
    return run


def _pictures_in_words(recipe: Recipe, zoo: Zoo, data_dir: Path | None, dataset: Dataset) -> str:
    """What a run on the user's own pictures trains on."""
    held_out = recipe.dataset.validation
    with suppress(GanzooError):  # they are too few for a test split
        held_out += len(load_part(zoo.datasets.get(recipe.dataset.name), recipe.dataset.options, data_dir, "test"))
    kinds = f" in {len(dataset.classes)} classes" if len(dataset.classes) > 1 else ""
    unused = " (which this recipe does not use)" if kinds and not recipe.conditional else ""
    return (
        f"Training on {len(dataset):,} images, {written(dataset.shape)}{kinds}{unused}; "
        f"{f'{held_out:,}' if held_out else 'none'} {'is' if held_out == 1 else 'are'} held out."
    )


def _announcement(trainer: Trainer) -> str:
    """How long the run will take: a few steps are timed and then undone."""
    with trainer.rehearsal():
        trainer.step()  # compiles and allocates
        trainer.flush()
        started_at, steps = time.perf_counter(), 0
        while steps < REHEARSED and time.perf_counter() - started_at < REHEARSED_SECONDS:
            trainer.step()
            steps += 1
        trainer.flush()  # waits for the device
        seconds = (time.perf_counter() - started_at) / steps * trainer.total_steps
    duration = f"{seconds:.0f} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"
    duration = duration if seconds < 7200 else f"{seconds / 3600:.1f} hours"
    return (
        f"Showing {trainer.recipe.train.images:,} images takes about {duration} here, scores excluded; --set "
        "train.images=N changes that."
    )


@contextmanager
def _out_of_memory_as_sentence() -> Iterator[None]:
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"Out of memory: {' '.join(str(error).split())[:200] or 'the system has no more'}.",
            "Lower train.batch_size, evaluate.samples or the sizes of the networks; what was saved is not lost.",
        ) from error
