"""``ganzoo run``: start a run from a recipe, or resume one, and train it to its end.

Where several processes train one run, all of them run this. Each takes the same steps and computes its part of every
evaluation; the main process alone writes, and shares what only it knows (the recipe, the checkpoint, what has been
scored already).
"""

from __future__ import annotations

import hashlib
import json
import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.api.metric import TrainedModel
from ganzoo.api.modality import png
from ganzoo.api.tracker import Tracker
from ganzoo.build import build_objective
from ganzoo.config.loading import Recipe, parse_recipe
from ganzoo.data.validation import load_part, part_of
from ganzoo.errors import GanzooError, Interrupted, RunError, Terminated, is_out_of_memory, one_line
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.features import fitting_metrics
from ganzoo.evaluation.metrics import MetricRequest
from ganzoo.evaluation.protocol import identity
from ganzoo.evaluation.sampling import draw
from ganzoo.evaluation.variety import SAMPLES, VarietyWatch
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo
from ganzoo.registry.packages import OURS
from ganzoo.registry.registry import NETWORK_KINDS
from ganzoo.runs.checkpoint import prune
from ganzoo.runs.environment import environment, hardware_in_words
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.schemas import MOST_THREADS
from ganzoo.runs.scores import SAMPLE_SEED, own_split
from ganzoo.training.device import resolve_precision
from ganzoo.training.distributed import ALONE, Processes
from ganzoo.training.engine_choice import recorded_engine, settle_engine
from ganzoo.training.health import broken_networks
from ganzoo.training.numerics import fix_workspace
from ganzoo.training.profile import shares_of_a_step
from ganzoo.training.signals import StopRequests
from ganzoo.training.threads import ThreadTuner, use_available_cores
from ganzoo.training.trainer import Trainer

CHANGEABLE = (
    "train.device",
    "train.engine",
    "train.images",
    "train.until",
    "train.log_every",
    "train.checkpoint_seconds",
    "evaluate.",
    "trackers",
)
"""What ``--set`` may change on resume: nothing that would make the past look different. Another device or engine may
round differently from here on, and no recipe's meaning depends on it."""
GRID_ROWS = 8
PROFILED_AT = 50
"""Steps before a profile: memory is allocated, and the number of threads chosen."""
CHECK_SIGNALS_EVERY = 8
"""Steps after which several processes ask one another whether to stop: torchrun kills after 30 seconds."""
LOGGED = ("metric", "value", "floor", "sd", "weights", "seconds")
"""What a score's event repeats of it."""


class Diverged(RunError):
    """A loss, a gradient or a weight is no longer finite."""


@dataclass(frozen=True)
class Callbacks:
    """Who is told of a run's progress.

    Attributes:
        trackers: Receive every event, besides those that the recipe names.
        on_step: Called after each step with the number of images shown.
        log: Called with sentences for the person who waits.
    """

    trackers: Sequence[Tracker] = ()
    on_step: Callable[[int], None] = lambda images: None
    log: Callable[[str], None] = lambda sentence: None


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
) -> RunFolder | None:
    """Train a recipe from the beginning.

    Args:
        recipe: A validated recipe; None in processes that are not main, which receive it from there.
        zoo: Where its names are looked up.
        out: The run folder to make; new or empty. None in processes that are not main.
        data_dir: Where the user keeps dataset files.
        dataset: Training images to use instead of the recipe's own, in one process.
        callbacks: Who is told of progress.
        processes: The processes that train together.
        profile: Say where the time of a step goes, once it is under way, and log it as an event ``profile``.

    Returns:
        The finished run; None in processes that are not main.
    """
    callbacks = callbacks or Callbacks()
    if out is not None:
        RunFolder.refuse_used(out)
    resolved, data_dir = _shared_task(recipe, data_dir, zoo, processes)
    use_available_cores(resolved.train.threads)
    parts = _build(resolved, zoo, data_dir, dataset, callbacks, processes)
    with _out_of_memory_as_sentence():
        choice = settle_engine(parts.trainer, callbacks.log)
    if recipe is None or out is None:
        return _train(parts, None, zoo, callbacks)
    # The folder holds what was asked for; what `auto` became is provenance, in run.json.
    chosen = {"engine_choice": choice.plain()} if choice is not None else {}
    run = RunFolder.create(out, recipe, {**_description(resolved, zoo, parts, data_dir), **chosen})
    with run.claimed():
        run.accept_paths(recipe, data_dir)
        run.log({"event": "start", "images": 0})
        return _train(parts, run, zoo, callbacks, profile=profile)


def resume(
    path: Path | None,
    zoo: Zoo,
    *,
    overrides: Sequence[str] = (),
    dataset: Dataset | None = None,
    callbacks: Callbacks | None = None,
    processes: Processes = ALONE,
) -> RunFolder | None:
    """Resume a run from its newest whole checkpoint: on the same hardware, to the same bits as if it had never stopped.

    Where its plugins, torch, training images or hardware are not those that it began with, it says so and goes on.

    Args:
        path: The run folder; None in processes that are not main, which receive its checkpoint from there.
        zoo: Where the recipe's names are looked up.
        overrides: Changes of the form ``a.b=c``, of ``CHANGEABLE`` alone.
        dataset: Training images to use instead of the recipe's own, in one process.
        callbacks: Who is told of progress.
        processes: The processes that train together.

    Raises:
        GanzooError: It is no run, it is done, another process trains it, or an override would change its past.
    """
    callbacks = callbacks or Callbacks()
    run = RunFolder.open(path) if path is not None else None
    for override in overrides:
        if not override.startswith(CHANGEABLE):
            raise GanzooError(
                f"`{override}` cannot be changed after a run has started.",
                f"On resume, --set takes {', '.join(CHANGEABLE)}.",
            )
    with run.claimed() if run is not None else nullcontext():
        recipe = data_dir = None
        if run is not None:
            run.refuse_another_recipe()
            recipe = run.recipe(zoo, overrides)
            # What `auto` was when the run began: another machine might choose otherwise.
            recipe = recipe.in_precision(run.info.get("precision") or recipe.train.precision)
            data_dir = run.data_dir(recipe) if dataset is None else None
            device = processes.device(recipe.train.device)
            if recipe.train.precision == "tf32" and device.type != "cuda":
                recipe = recipe.in_precision("fp32")
            if recipe.train.engine == "auto":
                recipe = recipe.with_engine(recorded_engine(run.info, device, processes.size) or "auto")
            if processes.size != run.info.get("processes", 1):
                callbacks.log("The number of processes has changed, so the weights will differ from an unbroken run's.")
        shared, data_dir = _shared_task(recipe, data_dir, zoo, processes)
        use_available_cores(shared.train.threads)
        parts = _build(shared, zoo, data_dir, dataset, callbacks, processes)
        state = _restore(parts.trainer, run, callbacks)
        with _out_of_memory_as_sentence():
            choice = settle_engine(parts.trainer, callbacks.log)
        most, planned = torch.get_num_threads(), []
        if run is not None:
            done = run.info.get("status") == "done" and parts.trainer.steps >= parts.trainer.total_steps
            # Another metric scores the kept weights, and trains nothing.
            if done and not any(override.startswith("evaluate.") for override in overrides):
                raise GanzooError(
                    f"The run {run.path} is done.",
                    "Train further with --set train.images=N, or score more with --set evaluate.metrics=[...].",
                )
            if overrides:
                run.replace_recipe(run.recipe(zoo, overrides))
            planned = _resume_threads(run, state, callbacks)
            found = environment(parts.trainer.device)
            for sentence in _changes(run, found, shared, zoo, data_digest(parts.dataset)):
                callbacks.log(one_line(sentence))
            began = run.info.get("began_with") or run.info.get("environment")
            run.update(
                status="running",
                environment=found,
                began_with=began,
                precision=parts.trainer.precision,
                engine=parts.trainer.engine.name,
                processes=processes.size,
                **({"engine_choice": choice.plain()} if choice is not None else {}),
            )
            if dataset is None:
                run.accept_paths(shared, data_dir)
            run.log({"event": "resume", "images": parts.trainer.images, "planned_threads": planned})
        return _train(parts, run, zoo, callbacks, float(state.get("seconds", 0.0)), most, planned)


def _shared_task(
    recipe: Recipe | None, data_dir: Path | None, zoo: Zoo, processes: Processes
) -> tuple[Recipe, Path | None]:
    """The main process's recipe, with its precision settled, and data folder, in all processes."""
    if recipe is not None:
        if recipe.train.deterministic:
            fix_workspace()
        precision = resolve_precision(recipe.train.precision, processes.device(recipe.train.device))
        task = {
            "name": recipe.name,
            "recipe": recipe.in_precision(precision).to_yaml(),
            "data_dir": str(data_dir) if data_dir else None,
        }
        processes.broadcast_bytes(json.dumps(task).encode())
        return recipe.in_precision(precision), data_dir
    task = json.loads(processes.broadcast_bytes())
    shared = parse_recipe(task["recipe"], task["name"], zoo)
    if shared.train.deterministic:
        fix_workspace()
    return shared, Path(task["data_dir"]) if task["data_dir"] else None


def _resume_threads(run: RunFolder, state: Mapping[str, Any], callbacks: Callbacks) -> list[tuple[int, int]]:
    """Train with as many CPU threads as the run had at its checkpoint: sums in another order are other bits.

    Returns:
        The changes that the run made after its checkpoint, to be made again: images shown, and threads from there on.
    """
    threads = state.get("threads", (run.info.get("environment") or {}).get("threads"))
    if isinstance(threads, int) and 1 <= threads <= MOST_THREADS and threads != torch.get_num_threads():
        callbacks.log(f"Resuming with {threads} CPU thread{'' if threads == 1 else 's'}, as the run had before.")
        torch.set_num_threads(threads)
    planned: list[tuple[int, int]] = []
    for event in run.events():
        if event["event"] == "resume":
            planned = [(images, threads) for images, threads in event.get("planned_threads", [])]
        elif event["event"] == "threads":
            planned.append((event["images"], event["threads"]))
    return [(images, threads) for images, threads in planned if images > state.get("images", 0)]


def _changes(run: RunFolder, found: Mapping[str, Any], recipe: Recipe, zoo: Zoo, digest: str) -> Iterator[str]:
    """A sentence for each thing that is not as it was when the run began; none of them keeps it from going on."""
    info, differ = run.info, "so the weights may differ in their bits from an unbroken run's."
    before = info.get("began_with") or info.get("environment") or {}
    old, new = before.get("versions") or {}, found["versions"]
    for package in ("torch", OURS):
        if old.get(package) not in (None, new[package]):
            yield f"Resuming with {package} {new[package]}; the run began with {package} {old[package]}, {differ}"
    entries = [zoo.registry(kind).get(component.name) for _, kind, component in recipe.components()]
    names = {network.name for network in recipe.networks.values()}
    entries += [entry for kind in NETWORK_KINDS for entry in zoo.registry(kind) if entry.name in names]
    plugins = {entry.plugin: entry.distribution for entry in entries if not entry.distribution.startswith(f"{OURS} ")}
    known = info.get("plugins") or plugins
    for name, distribution in sorted(plugins.items()):
        if known.get(name) != distribution:
            then = f"with {known[name]}" if name in known else "without it"
            yield f"Resuming with the plugin '{name}' of {distribution}; the run began {then}, {differ}"
    if info.get("data_digest") not in (None, digest):
        yield f"The training images are not those that the run began with, {differ}"
    for place, verb in ((before, "the run began"), (info.get("environment") or {}, "it last trained")):
        if place and hardware_in_words(place) != hardware_in_words(found):
            yield f"Resuming on {hardware_in_words(found)}; {verb} on {hardware_in_words(place)}, {differ}"
            break
    if info.get("precision") not in (None, recipe.train.precision):
        yield f"Resuming in {recipe.train.precision}; the run began in {info['precision']}, {differ}"


def data_digest(dataset: Dataset) -> str:
    """SHA-256 of everything that a dataset trains with: images, labels and further columns, in hexadecimal."""
    digest = hashlib.sha256()
    for name, column in {"image": dataset.images, "label": dataset.labels, **dataset.columns}.items():
        if column is not None:
            digest.update(f"{name} {column.dtype} {tuple(column.shape)}".encode())
            digest.update(column.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _restore(trainer: Trainer, run: RunFolder | None, callbacks: Callbacks) -> Mapping[str, Any]:
    """Go back to the newest whole checkpoint; returns its JSON state, empty where there is none."""
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
        return {}
    trainer.restore(tensors, state)
    if checkpoint is not None:
        prune(checkpoint.path)
    return state


@dataclass(frozen=True)
class _Parts:
    """What a run is made of."""

    dataset: Dataset
    sources: Mapping[str, Tensor]
    evaluator: Evaluator
    variety: VarietyWatch | None
    trainer: Trainer


def _build(
    recipe: Recipe,
    zoo: Zoo,
    data_dir: Path | None,
    dataset: Dataset | None,
    callbacks: Callbacks,
    processes: Processes,
) -> _Parts:
    """The trainer last: building the others draws random numbers, which must not shift the training's."""
    device = processes.device(recipe.train.device)
    with _out_of_memory_as_sentence():
        entry, options = zoo.datasets.get(recipe.dataset.name), recipe.dataset.options
        validation = recipe.dataset.validation

        def part(name: Part) -> Dataset:
            if dataset is None:
                return load_part(entry, options, data_dir, name, validation)
            return dataset if name == "test" else part_of(dataset, name, validation)

        train = part("train")
        metrics, sentences = fitting_metrics(recipe.evaluate.metrics, zoo, train, anyway=recipe.evaluate.anyway)
        for until in recipe.train.conditions:
            if until.metric not in metrics:
                raise GanzooError(f"train.until waits for '{until.metric}'. {sentences[0]}", "Wait for another score.")
        for sentence in sentences:
            callbacks.log(sentence)
        evaluator = Evaluator(
            metrics,
            entry if dataset is None else dataset,
            options,
            data_dir,
            zoo,
            device,
            split=own_split(recipe),
            validation=validation,
            anyway=recipe.evaluate.anyway,
            reference=processes.is_main and bool(metrics),
            objective=build_objective(recipe, zoo),
        )
        variety = VarietyWatch.of(metrics, zoo, train, device) if processes.is_main else None
        trainer = Trainer(recipe, zoo, dataset=train, device=device, log=callbacks.log, processes=processes)
        sources = {}
        if trainer.objective.generates_from:
            columns = part(own_split(recipe)).columns
            sources = {name: columns[name] for name in trainer.objective.generates_from}
    return _Parts(train, sources, evaluator, variety, trainer)


def _train(
    parts: _Parts,
    run: RunFolder | None,
    zoo: Zoo,
    callbacks: Callbacks,
    seconds: float = 0.0,
    most_threads: int | None = None,
    planned_threads: Sequence[tuple[int, int]] = (),
    profile: bool = False,
) -> RunFolder | None:
    trainer = parts.trainer
    tuner = ThreadTuner(trainer, most_threads, planned_threads, callbacks.log)
    if run is None:
        TrainingLoop(parts, None, (), Callbacks(), seconds, tuner).train()
        return None
    named = [
        zoo.trackers.get(component.name).create(run.path, **component.options) for component in trainer.recipe.trackers
    ]
    trackers = [*named, *callbacks.trackers]
    loop = TrainingLoop(parts, run, trackers, callbacks, seconds, tuner, profile)
    try:
        with _out_of_memory_as_sentence():
            loop.train()
    except (Interrupted, Terminated):
        run.update(status="interrupted", ended=_now())
        raise
    except Exception:
        run.update(status="failed", ended=_now())
        raise
    finally:
        torch.set_num_threads(tuner.most)
        for tracker in trackers:
            tracker.close()
    run.update(
        status="done",
        ended=_now(),
        images=trainer.images,
        seconds=round(loop.seconds, 3),
        images_per_second=round(trainer.images / loop.seconds, 1) if loop.seconds else None,
        reason=loop.reached or "all images shown",
        engine=trainer.engine.name,
    )
    return run


class TrainingLoop:
    """A training from its first step to its last: log points, checkpoints, evaluations, early end, interruption.

    Args:
        parts: What the run is made of; the trainer at its first step, or restored from a checkpoint.
        run: Where everything is written; None in processes that are not main.
        trackers: Receive every event.
        callbacks: ``on_step`` is called after each step.
        seconds: Training seconds that earlier processes spent on this run.
        threads: Chooses the number of CPU threads.
        profile: See ``start``.

    Attributes:
        seconds: Training seconds so far, evaluation excluded.
        reached: Why training ended early; "" where it did not.
    """

    def __init__(
        self,
        parts: _Parts,
        run: RunFolder | None,
        trackers: Sequence[Tracker],
        callbacks: Callbacks,
        seconds: float,
        threads: ThreadTuner,
        profile: bool = False,
    ) -> None:
        self.trainer = parts.trainer
        self.evaluator = parts.evaluator
        self.sources = parts.sources
        self.variety = parts.variety
        self.run = run
        self.seconds = seconds
        self.reached = ""
        self._trackers = trackers
        self._on_step = callbacks.on_step
        self._logged_at = (self.trainer.images, seconds)
        self._saved_at = time.monotonic()
        self._saved = self.trainer.images
        self._evaluated = -1
        self._stop = StopRequests()
        self._threads = threads
        self._profiled_at = min(PROFILED_AT, self.trainer.total_steps) if profile else None
        self._log = callbacks.log

    def train(self) -> None:
        """Train to the end, or until the requested score is reached.

        Raises:
            Interrupted: Ctrl-C; the state is saved.
            Terminated: SIGTERM; the state is saved.
            Diverged: A loss, a gradient or a weight is no longer finite; the last good checkpoint is kept.
        """
        trainer, every = self.trainer, self.trainer.recipe.evaluate.every_images
        with self._stop:
            if trainer.images == 0:
                self._draw_grid()
            elif self._crossed(every):
                self._evaluate()  # a crash may have cut it off
            while trainer.steps < trainer.total_steps and not self.reached:
                began = time.perf_counter()
                trainer.step()
                threads = self._threads.after_step(time.perf_counter() - began)
                self.seconds += time.perf_counter() - began
                if threads is not None:
                    self._log_event("threads", threads=threads)
                if trainer.steps == self._profiled_at:
                    self._log_profile()
                self._on_step(trainer.images)
                evaluate = self._crossed(every)
                if self._crossed(trainer.recipe.train.log_every) or evaluate:
                    self._log_means()
                    overdue = time.monotonic() - self._saved_at > trainer.recipe.train.checkpoint_seconds
                    if trainer.processes.any(overdue) or evaluate:
                        self._save()
                if evaluate:
                    self._evaluate()
                if self._stop_requested():
                    self._log_means()
                    self._save()
                    raise self._stop.error(*self._stopped())
            if self._evaluated != trainer.images:
                self._log_means()
                self._save()
                self._evaluate()
        self._log_event("end", seconds=self.seconds, reason=self.reached or "all images shown")

    def _log_profile(self) -> None:
        shares = shares_of_a_step(self.trainer)
        listed = sorted(((share, kind) for kind, share in shares.items() if share >= 0.005), reverse=True)
        self._log(f"Of a step's time: {', '.join(f'{kind} {share:.0%}' for share, kind in listed)}.")
        self._log_event("profile", shares={kind: round(share, 4) for kind, share in shares.items()})

    def _crossed(self, every: int | None) -> bool:
        """Whether the last step crossed a multiple of ``every`` images."""
        images = self.trainer.images
        return every is not None and images // every > (images - self.trainer.images_per_step) // every

    def _stop_requested(self) -> bool:
        processes = self.trainer.processes
        if processes.size == 1:
            return self._stop.received is not None
        if self.trainer.steps % CHECK_SIGNALS_EVERY:
            return False
        (number,) = processes.all_reduce_max([float(self._stop.received or 0)])
        if number:
            self._stop.received = signal.Signals(int(number))
        # What arrived during the exchange stays for the next one: no other process has heard of it.
        return bool(number)

    def _stopped(self) -> tuple[str, str]:
        where = f" {self.run.path}" if self.run is not None else ""
        return f"Stopped after {self.trainer.images:,} images, and saved.", f"Resume with `ganzoo run --resume{where}`."

    def _log_means(self) -> None:
        began = time.perf_counter()
        means, gradients = self.trainer.flush(), self.trainer.gradients.flush()
        self.seconds += time.perf_counter() - began
        norms = {f"{name}.gradient": norm for name, norm in gradients.items()}
        self._refuse_not_finite([name for name, value in {**means, **norms}.items() if not math.isfinite(value)])
        images, seconds = self._logged_at
        elapsed = self.seconds - seconds
        if elapsed > 0 and means:
            rate = (self.trainer.images - images) / elapsed
            self._log_event("train", seconds=round(self.seconds, 3), images_per_second=round(rate, 1), **means)
        if gradients:
            self._log_event("health", gradients=gradients)
        self._logged_at = (self.trainer.images, self.seconds)

    def _save(self) -> None:
        # The last step may have broken weights that no loss has seen yet.
        self._refuse_not_finite([f"{role}.weights" for role in broken_networks(dict(self.trainer.networks.items()))])
        if self._saved != self.trainer.images:
            tensors, state = self.trainer.checkpoint()
            if self.run is not None:
                self.run.save_checkpoint(
                    tensors, {**state, "seconds": self.seconds, "threads": torch.get_num_threads()}
                )
        self._saved, self._saved_at = self.trainer.images, time.monotonic()

    def _refuse_not_finite(self, broken: Sequence[str]) -> None:
        if broken:
            self._log_event("diverged", broken=list(broken))
            raise Diverged(
                f"Training diverged: {', '.join(broken)} is not finite after {self.trainer.images:,} images.",
                "The last good checkpoint is kept; try a lower learning rate, train.precision=fp32 or a regularizer.",
            )

    def _evaluate(self) -> None:
        """Draw the grid, and compute every score of this point that the run does not have yet.

        The checkpoint of this point is on disk, so a request to stop need not wait for the end.
        """
        trainer, processes = self.trainer, self.trainer.processes
        with self._stop.at_once(*self._stopped()):
            self._draw_grid()
            if self.variety is not None:
                weights = trainer.kinds_of_weights[0]
                images, _ = self._samples(weights, min(SAMPLES, trainer.recipe.evaluate.samples))
                measured = self.variety.measure(images)
                self._log_event("health", weights=weights, features=self.variety.name, **measured)
            for weights in trainer.kinds_of_weights:
                missing = self._missing_scores(weights)
                if processes.any(bool(missing)):
                    self._score(weights, missing)
            self._log_scores()
        if processes.any(self._is_reached()):
            self.reached = self.reached or "the requested score"
        self._evaluated = trainer.images

    def _draw_grid(self) -> None:
        if self.run is None:
            return
        columns = len(self.run.info.get("class_names", ())) if self.trainer.recipe.conditional else GRID_ROWS
        modality = self.trainer.objective.spec.modality
        shown = modality.overview_size(columns, GRID_ROWS) // self.trainer.objective.views
        images, _ = self._samples(self.trainer.kinds_of_weights[0], shown, overview=True)
        path = self.run.path / "samples" / f"{self.trainer.images:012d}.png"
        write_atomically(path, png(modality.picture(images, columns)))
        for tracker in self._trackers:
            tracker.picture(self.trainer.images, path)

    def _samples(
        self, weights: str, n: int, part: tuple[int, int] = (0, 1), *, overview: bool = False
    ) -> tuple[Tensor, Tensor | None]:
        """Samples of the trained generator and their labels; of several processes each may draw its part."""
        trainer = self.trainer
        return draw(
            trainer.objective,
            trainer.sampling_networks(weights),
            n,
            seed=SAMPLE_SEED,
            device=trainer.device,
            classes=trainer.objective.spec.classes,
            columns=self.sources,
            part=part,
            overview=overview,
        )

    def _score(self, weights: str, missing: Sequence[MetricRequest]) -> None:
        """Draw samples and look at them together; the main process computes the metrics."""
        trainer, processes = self.trainer, self.trainer.processes
        part = (processes.rank, processes.size)
        images, labels = self._samples(weights, trainer.recipe.evaluate.samples, part)
        processes.all_reduce_sum(images)
        features = self.evaluator.features(images, processes)
        if self.run is not None:
            scores = self.evaluator.score(
                images,
                features=features,
                requests=missing,
                sample_seed=SAMPLE_SEED,
                weights=weights,
                labels=labels,
                model=TrainedModel(trainer.objective, trainer.sampling_networks(weights), trainer.device),
                # What may be the final scores; the others are points of a curve.
                interval=self.trainer.steps >= self.trainer.total_steps or bool(self.trainer.recipe.train.conditions),
            )
            self.run.append_score(*(one.record(self.trainer.images, round(self.seconds, 3)) for one in scores))

    def _missing_scores(self, weights: str) -> list[MetricRequest]:
        """The metrics that this run has not been scored by at this point, under its own protocol."""
        if self.run is None:
            return []
        known, wanted = {identity(score["protocol"]) for score in self._scores_here()}, self._protocols(weights)
        return [request for request in self.evaluator.requests if wanted[request.name] not in known]

    def _protocols(self, weights: str) -> dict[str, str]:
        """The identity of each of the recipe's scores, by metric: everything that it depends on."""
        n = self.trainer.recipe.evaluate.samples
        return {
            request.name: identity(self.evaluator.protocol(request, n, SAMPLE_SEED, weights))
            for request in self.evaluator.requests
        }

    def _scores_here(self) -> list[dict[str, Any]]:
        """Scores of this point, whoever computed them."""
        assert self.run is not None
        return [score for score in self.run.scores() if score["images"] == self.trainer.images]

    def _log_scores(self) -> None:
        """An event for each of the recipe's own scores that has none yet: a crash may have come between the two."""
        if self.run is None:
            return
        own = {wanted for weights in self.trainer.kinds_of_weights for wanted in self._protocols(weights).values()}
        here = [event for event in self.run.events() if event["images"] == self.trainer.images]
        logged = {(event.get("metric"), event.get("weights")) for event in here if event["event"] == "score"}
        for score in self._scores_here():
            if identity(score["protocol"]) in own and (score["metric"], score["weights"]) not in logged:
                logged.add((score["metric"], score["weights"]))
                self._log_event("score", **{key: score[key] for key in LOGGED if key in score})

    def _is_reached(self) -> bool:
        """Whether every score of ``train.until`` is good enough: those of its own protocol, and no others."""
        conditions, weights = self.trainer.recipe.train.conditions, self.trainer.kinds_of_weights[0]
        if not conditions or self.run is None:
            return False
        wanted = self._protocols(weights)
        found = {identity(score["protocol"]): score["value"] for score in self._scores_here()}
        values = [(until, found.get(wanted[until.metric])) for until in conditions]
        if all(value is not None and until.is_met(value) for until, value in values):
            self.reached = " and ".join(until.in_words for until in conditions)
        return bool(self.reached)

    def _log_event(self, event: str, **facts: Any) -> None:
        if self.run is None:
            return
        record = {"event": event, "images": self.trainer.images, **facts}
        self.run.log(record)
        for tracker in self._trackers:
            tracker.log(record)


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


def _description(recipe: Recipe, zoo: Zoo, parts: _Parts, data_dir: Path | None) -> dict[str, Any]:
    """What run.json says of a new run."""
    trainer, dataset = parts.trainer, parts.dataset
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
        "processes": trainer.processes.size,
        "precision": trainer.precision,
        "parameters": trainer.assembly.parameter_counts(),
        "plugins": {plugin.name: plugin.distribution for plugin in zoo.plugins},
        "data_digest": data_digest(dataset),
        "environment": environment(trainer.device),
    }


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
