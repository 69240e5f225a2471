"""``ganzoo run``: start a run from a recipe, or resume one.
All of a run's processes execute this; only the main one writes, and it sends the others the recipe and the checkpoint.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.config.loading import parse_recipe, takes_path
from ganzoo.config.schema import DESCRIPTIVE, Recipe, same_training
from ganzoo.data import load_part, part_of
from ganzoo.errors import GanzooError, Interrupted, RunError, Terminated, is_out_of_memory, one_line
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.requests import fitting_metrics, written
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import HANDED_OVER
from ganzoo.registry.strict import read_mapping
from ganzoo.reproducibility import below, preserved_random_state
from ganzoo.runs.folder import RunFolder, free_folder
from ganzoo.runs.generator import differing, pinned, trained_shape
from ganzoo.runs.loop import Callbacks, ContainedTracker, TrainingLoop
from ganzoo.runs.provenance import (
    changed_plugins,
    changes,
    data_digest,
    environment,
    handed_over,
    now,
    refuse_other_data,
)
from ganzoo.runs.records import CODE
from ganzoo.training.device import resolve_precision, use_available_cores
from ganzoo.training.distributed import ALONE, Processes, in_contact
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import ThreadTuner, recorded_engine, settle_engine

logger = logging.getLogger(__name__)
CHANGEABLE = (  # what --set may change on resume: nothing that contradicts the steps taken, though bits may differ
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


@contextmanager
def _process_kept() -> Iterator[None]:
    """Restore the number of CPU threads, for the next run in this process; say in a sentence that memory ran out."""
    before = torch.get_num_threads()
    try:
        with in_contact():
            yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunError(
            f"Out of memory: {' '.join(str(error).split())[:200] or 'the system has no more'}.",
            "Lower train.batch_size, evaluate.samples or the sizes of the networks; what was saved is not lost.",
        ) from error
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


@dataclass(frozen=True)
class Task:
    """What every process of a run starts from: the main process finds it out, and sends it to the others."""

    recipe: Recipe
    data_dir: Path | None
    state: Mapping[str, Any]  # of the checkpoint to go on from; empty at the first step
    tensors: Mapping[str, Tensor]  # of that checkpoint; at the first step, the weights of another run to start from

    def send(self, processes: Processes) -> None:
        """Send it to the other processes, which receive it in ``take_part``."""
        # The others' hardware may not be the main process's.
        precision = resolve_precision(self.recipe.train.precision, processes.device(self.recipe.train))
        recipe = self.recipe.with_train(precision=precision).to_yaml()
        facts = {
            "name": self.recipe.name,
            "recipe": recipe,
            "data_dir": str(self.data_dir) if self.data_dir else None,
            "state": self.state,
        }
        processes.broadcast_bytes(json.dumps(facts).encode())
        processes.broadcast_bytes(save_tensors(dict(self.tensors)))


@_process_kept()
def take_part(zoo: Zoo, processes: Processes) -> None:
    """Train alongside the main process, which alone writes and reports; return at once if it has nothing to train."""
    content = processes.broadcast_bytes()
    if not content:
        return
    facts, tensors = json.loads(content), load_tensors(processes.broadcast_bytes())
    data_dir = Path(facts["data_dir"]) if facts["data_dir"] else None
    task = Task(parse_recipe(facts["recipe"], facts["name"], zoo), data_dir, facts["state"], tensors)
    loop, _ = _prepared(task, zoo, None, Callbacks(), processes)
    loop.train()


@_process_kept()
def start(
    recipe: Recipe,
    zoo: Zoo,
    out: Path | None = None,
    *,
    data_dir: Path | None = None,
    dataset: Dataset | None = None,
    callbacks: Callbacks | None = None,
    processes: Processes = ALONE,
    allow_trackers: bool = False,
) -> RunFolder:
    """Train a recipe in ``out``, new or empty, or in its next free folder below ``runs/``; on ``dataset``, if given."""
    callbacks = callbacks or Callbacks()
    if out is not None:
        RunFolder.refuse_used(out)
    folder = out or free_folder(recipe.name)
    callbacks.on_begin(recipe, folder)
    recipe, weights = pinned(recipe, zoo)
    with preserved_random_state(processes.device(recipe.train)):
        loop, choice = _prepared(Task(recipe, data_dir, {}, weights), zoo, dataset, callbacks, processes)
        train, trainer = loop.dataset, loop.trainer
        if dataset is None and takes_path(recipe.dataset.name, zoo):
            callbacks.log(_pictures_in_words(recipe, zoo, data_dir, train))
        code, parts = handed_over(recipe, zoo)
        # The folder's recipe is as requested; what `auto` resolved to is provenance, in run.json.
        facts = {
            "recipe": recipe.name,
            "status": "running",
            "started": now(),
            "id": uuid4().hex,
            "seed": recipe.train.seed,
            "data_dir": str(data_dir.resolve()) if data_dir else None,
            "shape": list(train.shape),
            "modality": train.modality.name,
            "modality_options": train.modality.options(),
            "columns": {name: list(shape) for name, shape in train.column_shapes},
            "classes": len(train.classes),
            "class_names": list(train.classes),
            "engine": trainer.engine.name,
            "processes": processes.size,
            "precision": trainer.precision,
            "parameters": trainer.assembly.parameter_counts(),
            "plugins": {plugin.name: plugin.distribution for plugin in zoo.plugins},
            "data_digest": data_digest(train),
            "environment": environment(trainer.device),
            **({"code": parts} if parts else {}),
            **choice,
        }
        while True:
            try:
                run = RunFolder.create(folder, recipe, facts, code)
                break
            except GanzooError:
                taken, folder = folder, free_folder(recipe.name)
                if out is not None or folder == taken:
                    raise
                callbacks.log(f"Another run has taken {taken} in the meantime. Run folder: {folder}")
        with run.claimed():
            run.accept_paths(recipe, data_dir)
            run.log({"event": "start", "images": 0})
            return _train(loop, run, zoo, callbacks, is_new=True, allow_trackers=allow_trackers)


@_process_kept()
def resume(
    run: RunFolder | Path,
    zoo: Zoo,
    *,
    overrides: Sequence[str] = (),
    pictures: Path | None = None,
    dataset: Dataset | None = None,
    callbacks: Callbacks | None = None,
    processes: Processes = ALONE,
    allow_trackers: bool = False,
) -> RunFolder:
    """Resume a run from its newest intact checkpoint; on the same hardware, bit for bit as if it had never stopped.
    Overrides change only keys in ``CHANGEABLE``; ``pictures`` is where the user's own pictures are now.
    """
    callbacks = callbacks or Callbacks()
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            raise GanzooError(
                f"`{override}` cannot be changed after a run has started.",
                f"On resume, --set takes {', '.join(CHANGEABLE).replace('evaluate.', 'evaluate.*')}.",
            )
    run = run if isinstance(run, RunFolder) else RunFolder.open(run)
    with run.claimed():
        zoo = run.zoo(zoo, resuming=True)
        if processes.size > 1 and any(plugin.distribution == HANDED_OVER for plugin in zoo.plugins):
            raise GanzooError(
                f"The run {run.path} has classes that are in no package, so only one process can resume it.",
                f"Leave torchrun out, or make a plugin of them: `ganzoo new NAME --from {run.path / CODE}`.",
            )
        recipe = run.recipe(zoo, overrides)
        if pictures is not None:
            if not takes_path(recipe.dataset.name, zoo):
                raise GanzooError(
                    f"The run {run.path} trains on '{recipe.dataset.name}', not on pictures from a folder.",
                    "Leave --data out.",
                )
            options = {**recipe.dataset.options, "path": str(pictures.expanduser().absolute())}
            recipe = recipe.model_copy(update={"dataset": recipe.dataset.model_copy(update={"options": options})})
        callbacks.on_begin(recipe, run.path)
        # The pictures' absolute path, which the user has just named, is all that such a dataset reads.
        data_dir = run.data_dir(recipe) if dataset is None and pictures is None else None
        task = _where_it_stopped(run, recipe, data_dir, zoo, callbacks, processes)
        planned = _planned_threads(run, task.state.get("images", 0))
        if processes.size != run.info.get("processes", 1):
            callbacks.log("The number of processes has changed, so the weights will differ from an unbroken run's.")
        with preserved_random_state(processes.device(recipe.train)):
            loop, choice = _prepared(task, zoo, dataset, callbacks, processes, run, planned)
            trainer, digest = loop.trainer, data_digest(loop.dataset)
            if pictures is not None and digest != run.info.get("data_digest"):
                raise GanzooError(
                    f"The pictures in {pictures} are not those that the run {run.path} began with.",
                    "Give the place that they were moved to, or start a new run.",
                )
            done = run.info.get("status") == "done" and trainer.steps >= trainer.total_steps
            # Another metric only scores the saved weights, and another place is only recorded; neither needs training.
            if done and pictures is None and not any(override.startswith("evaluate.") for override in overrides):
                raise GanzooError(
                    f"The run {run.path} is done.",
                    "Train further with --set train.images=N, or score more with --set evaluate.metrics=[...].",
                )
            event = {"event": "resume", "images": trainer.images, "planned_threads": planned}
            before = (read_mapping(run.path / "recipe.yaml").get("train") or {}).get("images")
            if before not in (None, recipe.train.images):
                event |= {"train_images": recipe.train.images, "train_images_before": before}
                _refuse_or_warn_of_another_length(trainer, callbacks)
            if changed := changed_plugins(run.info, recipe, zoo):
                event["plugins"] = changed
            if overrides or pictures is not None:
                run.replace_recipe(recipe)
            if dataset is None:
                run.accept_paths(recipe, data_dir)
            hardware = environment(trainer.device)
            for sentence in changes(run.info, hardware, task.recipe, zoo, digest):
                callbacks.log(one_line(sentence))
            run.update(
                status="running",
                environment=hardware,
                began_with=run.info.get("began_with") or run.info.get("environment"),
                precision=trainer.precision,
                engine=trainer.engine.name,
                processes=processes.size,
                **choice,
            )
            run.forget_after(trainer.images)
            run.log(event)
            return _train(loop, run, zoo, callbacks, task.state.get("seconds", 0.0), allow_trackers=allow_trackers)


def changed_settings(run: RunFolder, requested: Recipe, zoo: Zoo) -> dict[str, Any]:
    """What a recipe changes in the run that it resumes, by dotted key.

    Raises:
        GanzooError: It changes something beyond ``CHANGEABLE``.
    """
    begun = run.recipe(zoo)
    requested, _ = pinned(requested, zoo, begun)
    changes = dict(differing(begun.plain(), requested.plain()))
    keys = [*changes, *dict(differing(requested.plain(), begun.plain()))]
    if not (same_training(requested, begun) or all(key.startswith((*CHANGEABLE, *DESCRIPTIVE)) for key in keys)):
        raise GanzooError(
            f"The run {run.path} was started with other settings.",
            f"Give the same as before (in Python, the name '{begun.name}' alone), or start a new run in another folder."
            f" Only {', '.join(CHANGEABLE).replace('evaluate.', 'evaluate.*')} may change.",
        )
    return {key: value for key, value in changes.items() if key.startswith(CHANGEABLE)}


def _prepared(
    task: Task,
    zoo: Zoo,
    dataset: Dataset | None,
    callbacks: Callbacks,
    processes: Processes,
    resumed: RunFolder | None = None,
    planned: Sequence[tuple[int, int]] = (),
) -> tuple[TrainingLoop, dict[str, Any]]:
    if processes.is_main and processes.size > 1:
        task.send(processes)
    recipe, data_dir = task.recipe, task.data_dir
    use_available_cores(recipe.train.threads)
    entry, options = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options
    validation, count = recipe.dataset.validation, recipe.dataset.count

    def part(name: Part) -> Dataset:
        if dataset is None:
            return load_part(entry, options, data_dir, name, validation, count)
        return dataset if name == "test" else part_of(dataset, name, validation, count)

    train = part("train")
    if resumed is not None:
        refuse_other_data(resumed.info, train, recipe)
    alone, anyway = dataset is not None and not validation, recipe.evaluate.anyway
    metrics, sentences, extractors = fitting_metrics(recipe.evaluate.metrics, zoo, train, anyway=anyway, alone=alone)
    device = processes.device(recipe.train)
    trainer = Trainer(recipe, zoo, dataset=train, device=device, log=callbacks.log, processes=processes)
    with preserved_random_state(device):  # building the evaluator must not shift the trainer's random numbers
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
            anyway=anyway,
            reference=processes.is_main and bool(metrics),
            objective=trainer.objective,
            extractors=extractors,
        )
        if processes.is_main and metrics:
            left_out = evaluator.leave_out(recipe.evaluate.samples)
            sentences += [*left_out, "`ganzoo doctor` says how varied the samples are."] if left_out else []
    for sentence in sentences:
        callbacks.log(sentence)
    scored = [request.name for request in evaluator.requests]
    needed = [(one.metric, "train.until waits for") for one in recipe.train.conditions]
    needed.append((recipe.train.keep_best or "", "train.keep_best names"))
    for metric, what in needed:
        if metric and metric not in scored:
            reason = next(one for one in sentences if f"{metric}," in one or f"{metric}:" in one)
            raise GanzooError(f"{what} '{metric}'. {reason}", "Choose another score.")
    sources = {}
    if starts_from := (*trainer.objective.generates_from, *trainer.objective.shows):
        reference = part(recipe.dataset.scored_split)
        columns = {"image": reference.images, **reference.columns}
        sources = {name: columns[name] for name in starts_from}
    if task.state:
        trainer.restore(task.tensors, task.state)
    elif (source := recipe.train.init_from) is not None:
        _initialise(trainer, task.tensors, source.source, zoo, callbacks.log)
    choice = settle_engine(trainer, callbacks.log)
    tuner = ThreadTuner(trainer, planned, callbacks.log)
    threads = task.state.get("threads", torch.get_num_threads())
    if threads != torch.get_num_threads():  # summing with another number of threads changes bits
        callbacks.log(f"Resuming with {threads} CPU thread{'' if threads == 1 else 's'}, as the run had before.")
        torch.set_num_threads(threads)
    loop = TrainingLoop(train, sources, evaluator, trainer, tuner, callbacks)
    return loop, {"engine_choice": choice} if choice else {}


def _initialise(
    trainer: Trainer, tensors: Mapping[str, Tensor], source: str, zoo: Zoo, log: Callable[[str], None]
) -> None:
    # If the run has only networks.<role>.* or ema.<role>.*, these are used for both.
    averaged = dict(trainer.ema.networks.items()) if trainer.ema is not None else {}
    anew = []
    for role, network in trainer.networks.items():
        raw, ema = below(f"networks.{role}", tensors), below(f"ema.{role}", tensors)
        trained, average = raw or ema, ema or raw
        if not trained:
            anew.append(role)
            continue
        try:
            network.load_state_dict(trained)
            if role in averaged:
                averaged[role].load_state_dict(average)
        except RuntimeError as error:
            shape, reason = trained_shape(source, zoo), " ".join(str(error).split())[:300].rstrip(".")
            sentence = f"The {role} of {source} does not fit the recipe '{trainer.recipe.name}': {reason}."
            remedy = "Start from a run with the same networks."
            if shape != trainer.assembly.spec.modality.shape:
                here = written(trainer.assembly.spec.modality.shape)
                sentence = f"{source} was trained on {written(shape)} images, and its {role} does not fit {here} ones."
                remedy = "Start from a run on images of this shape, or from random weights, without --init-from."
                if takes_path(trainer.recipe.dataset.name, zoo) and shape[-1] == shape[-2]:
                    alike = f"--set dataset.size={shape[-1]} --set dataset.channels={shape[0]}"
                    remedy = f"Convert the pictures: {alike}. Or start from random weights, without --init-from."
            raise GanzooError(sentence, remedy) from error
    if len(anew) == len(trainer.networks):
        raise GanzooError(
            f"{source} has none of the networks of the recipe '{trainer.recipe.name}'.",
            f"It needs one of: {', '.join(trainer.networks)}.",
        )
    if anew:
        they_start = "it starts" if len(anew) == 1 else "they start"
        log(f"{source} has no {' and no '.join(anew)}, so {they_start} from random weights.")


def _where_it_stopped(
    run: RunFolder, recipe: Recipe, data_dir: Path | None, zoo: Zoo, callbacks: Callbacks, processes: Processes
) -> Task:
    checkpoint, damaged = run.find_checkpoint()
    for sentence in damaged:
        callbacks.log(f"{sentence} Resuming from {'an older one' if checkpoint else 'the start'}.")
    # With `auto` as resolved when the run began: another machine might choose differently.
    device = processes.device(recipe.train)
    precision = run.info.get("precision") or recipe.train.precision
    recipe = recipe.with_train(precision="fp32" if precision == "tf32" and device.type != "cuda" else precision)
    if recipe.train.engine == "auto":
        recipe = recipe.with_train(engine=recorded_engine(run.info, device, processes.size) or "auto")
    if checkpoint is None:
        return Task(recipe, data_dir, {}, pinned(recipe, zoo)[1])
    return Task(recipe, data_dir, checkpoint.state, checkpoint.tensors)


def _refuse_or_warn_of_another_length(trainer: Trainer, callbacks: Callbacks) -> None:
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


def _planned_threads(run: RunFolder, since: int) -> list[tuple[int, int]]:
    """The changes of the number of threads after a checkpoint, which must be repeated: images shown, and the number."""
    planned: list[tuple[int, int]] = []
    for event in run.events():
        if event["event"] == "resume":
            planned = [(images, threads) for images, threads in event.get("planned_threads", [])]
        elif event["event"] == "threads":
            planned.append((event["images"], event["threads"]))
    return [(images, threads) for images, threads in planned if images > since]


def _train(
    loop: TrainingLoop,
    run: RunFolder,
    zoo: Zoo,
    callbacks: Callbacks,
    seconds: float = 0.0,
    *,
    is_new: bool = False,
    allow_trackers: bool = False,
) -> RunFolder:
    trainer = loop.trainer
    if unknown := [f"the {kind} '{name}'" for kind, name, made_by in run.info.get("code", ()) if made_by is None]:
        logger.warning(  # which a notebook shows too
            "The source of %s is not stored: to open or resume the run takes the same.", " and ".join(unknown)
        )
    trackers = [ContainedTracker(tracker, type(tracker).__name__, callbacks.log) for tracker in callbacks.trackers]
    try:
        left_out = () if allow_trackers else warn_of_network_trackers([trainer.recipe], zoo)
        for component in trainer.recipe.trackers:
            if component.name not in left_out:
                tracker = zoo.trackers.get(component.name).create(run.path, **component.options)
                trackers.append(ContainedTracker(tracker, component.name, callbacks.log))
        is_new = False
        loop.run, loop.trackers, loop.seconds = run, trackers, seconds
        loop.train()
        run.update(
            status="done",
            ended=now(),
            images=trainer.images,
            seconds=round(loop.seconds, 3),
            images_per_second=round(trainer.images / loop.seconds, 1) if loop.seconds else None,
            reason=loop.reached or "all images shown",
            engine=trainer.engine.name,
        )
    except Exception as error:
        if is_new:  # a tracker could not be made: the corrected command should find the folder free
            run.discard()
        else:
            run.update(status="interrupted" if isinstance(error, Interrupted | Terminated) else "failed", ended=now())
        raise
    finally:
        for contained in trackers:  # after the status is on disk: a tracker's upload may take a long time
            contained.call("close")
    return run


def _pictures_in_words(recipe: Recipe, zoo: Zoo, data_dir: Path | None, dataset: Dataset) -> str:
    held_out = recipe.dataset.validation
    with suppress(GanzooError):  # they are too few for a test split
        held_out += len(load_part(zoo.datasets.get(recipe.dataset.name), recipe.dataset.options, data_dir, "test"))
    kinds = f" in {len(dataset.classes)} classes" if len(dataset.classes) > 1 else ""
    unused = " (which this recipe does not use)" if kinds and not recipe.conditional else ""
    return (
        f"Training on {len(dataset):,} images, {written(dataset.shape)}{kinds}{unused}; "
        f"{f'{held_out:,}' if held_out else 'none'} {'is' if held_out == 1 else 'are'} held out."
    )
