"""The loop of a run: train, save, score, and report to trackers and callbacks.
If several processes train one run, each takes the same steps and scores its part; only the main process writes.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Points, png
from ganzoo.api.metric import TrainedModel
from ganzoo.api.tracker import Tracker
from ganzoo.config.schema import Recipe
from ganzoo.errors import Diverged, Interrupted, RunError, one_line
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.features import SAMPLES, VarietyWatch
from ganzoo.evaluation.protocol import identity
from ganzoo.evaluation.requests import MetricRequest
from ganzoo.evaluation.sampling import discriminator_field, draw
from ganzoo.files import as_argument, write_atomically
from ganzoo.runs.diagnosis import diagnose, too_similar
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.records import SAMPLE_SEED
from ganzoo.training.optim import broken_networks
from ganzoo.training.signals import StopRequests
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import ThreadTuner

GRID_ROWS, GRID_CLASSES = 8, 40  # a grid has a column for each class, up to GRID_CLASSES
# Between evaluations, a grid after every GRID_SECONDS of training, later after another 1/GRIDS of it: one a minute for
# an hour, and 140 more in the next nine hours.
GRID_SECONDS, GRIDS = 60.0, 60
REPLAYED, REPLAY_SAMPLES = 60, 500  # points of a run on 2D data that its report replays, and samples at each
# Several processes check whether to stop every so many steps, since torchrun kills after 30 seconds, or after each step
# that takes more than LONG_STEP seconds.
CHECK_SIGNALS_EVERY, LONG_STEP = 8, 1.0
LOGGED = ("metric", "value", "floor", "sd", "weights", "seconds")  # the keys of a score that its event repeats


@dataclass(frozen=True)
class Callbacks:
    """Receive a run's progress."""

    trackers: Sequence[Tracker] = ()  # in addition to those that the recipe names
    on_begin: Callable[[Recipe, Path], None] = lambda recipe, folder: None  # before anything is loaded
    on_step: Callable[[int, Mapping[str, float]], None] = lambda images, losses: None  # after each step; see ``train``
    on_samples: Callable[[int, Tensor], None] = lambda images, samples: None  # whenever a grid of them is saved
    on_scoring: Callable[[int], None] = lambda samples: None  # before samples are scored
    on_evaluation: Callable[[int, Mapping[str, float]], None] = lambda images, scores: None  # after they were scored
    log: Callable[[str], None] = lambda sentence: None  # progress messages


@dataclass
class ContainedTracker:
    """A tracker whose failure does not end the run: it is logged, and the tracker receives nothing more."""

    tracker: Tracker
    name: str
    report: Callable[[str], None]
    failed: bool = False

    def call(self, method: str, *facts: Any) -> None:
        """Call a method of the tracker; ``close`` also reaches one that has failed."""
        if self.failed and method != "close":
            return
        try:
            getattr(self.tracker, method)(*facts)
        except Exception as error:
            if not self.failed:
                cause = f"{type(error).__name__}: {error}".rstrip(".: ")
                self.report(
                    one_line(
                        f"The tracker '{self.name}' failed ({cause}). It receives nothing more; the run itself is not "
                        "affected."
                    )
                )
            self.failed = True


@dataclass
class TrainingLoop:
    """A run from first step to last: log points, checkpoints, evaluations, early stopping and interruption."""

    dataset: Dataset  # the training images
    sources: Mapping[str, Tensor]  # the objective's inputs for samples and overviews besides latent codes, by column
    evaluator: Evaluator
    trainer: Trainer  # at its first step, or restored from a checkpoint
    threads: ThreadTuner  # chooses the number of CPU threads
    callbacks: Callbacks
    run: RunFolder | None = None  # None in processes that are not main
    trackers: Sequence[ContainedTracker] = ()
    seconds: float = 0.0  # of training so far, evaluation excluded
    reached: str = ""  # why training ended early
    _variety: VarietyWatch | None = None
    _evaluated: int = -1
    _collapsed: bool = False
    _step_seconds: float = 0.0
    _check_signals_every: int = 1

    def train(self) -> None:
        """Train to the end, or until the requested score is reached."""
        trainer, every = self.trainer, self.trainer.recipe.evaluate.every_images
        config = trainer.recipe.train
        self._saved, self._saved_at = trainer.images, time.monotonic()
        self._logged_at, self._drawn_at = (trainer.images, self.seconds), self.seconds
        sentence = "Stopping after this step, and saving; press Ctrl-C again to quit without saving."
        self._stop = StopRequests("" if self.run is None else sentence)
        with self._stop, self._loss_reported():
            if self.run is not None:
                with self._stop.at_once(*self._stopped()):
                    self.evaluator.prepare()
                    if len(self.dataset) > 3:  # it compares two halves
                        self._variety = VarietyWatch(self.evaluator.extractors, self.dataset, trainer.device)
            if trainer.images == 0:
                if config.init_from is not None:  # saved now: their source may be gone when the run is resumed
                    self._save()
                self._draw_grid()
                self._record_plane()
            elif self._crossed(every):
                self._evaluate()  # a crash may have cut it off
            while trainer.steps < trainer.total_steps and not self.reached:
                started_at = time.perf_counter()
                trainer.step()
                self._step_seconds = time.perf_counter() - started_at
                threads = self.threads.after_step(self._step_seconds)
                self.seconds += time.perf_counter() - started_at
                if threads is not None:
                    self._log_event("threads", threads=threads)
                evaluate = self._crossed(every)
                log = evaluate or self._crossed(config.log_every) or trainer.steps == trainer.total_steps
                self.callbacks.on_step(trainer.images, self._log_means() if log else {})
                if not evaluate and self.seconds - self._drawn_at > max(GRID_SECONDS, self.seconds / GRIDS):
                    with suppress(Diverged):  # the next log point or evaluation gives a better report of it
                        self._draw_grid()
                # Before the checkpoint: a run that is interrupted in between resumes from it.
                if evaluate or self._crossed(max(config.log_every, config.images // REPLAYED)):
                    self._record_plane()
                if log:
                    overdue = time.monotonic() - self._saved_at > config.checkpoint_seconds
                    if trainer.processes.any(overdue) or evaluate:
                        self._save()
                if evaluate:
                    self._evaluate()
                if self._stop_requested():
                    self._log_means()
                    self._save()
                    raise self._stop.error(*self._stopped())
            if self._evaluated != trainer.images:
                self._record_plane()
                self._save()
                self._evaluate()
        self._log_event("end", seconds=self.seconds, reason=self.reached or "all images shown")

    def _crossed(self, every: int | None, images: int | None = None) -> bool:  # in the step up to images
        images = self.trainer.images if images is None else images
        return every is not None and images // every > (images - self.trainer.images_per_step) // every

    def _stop_requested(self) -> bool:
        processes = self.trainer.processes
        if processes.size == 1:
            return self._stop.received is not None
        if self.trainer.steps % self._check_signals_every:
            return False
        number, seconds = processes.all_reduce_max([float(self._stop.received or 0), self._step_seconds])
        self._check_signals_every = 1 if seconds > LONG_STEP else CHECK_SIGNALS_EVERY
        if number:
            self._stop.received = signal.Signals(int(number))
        # A signal that arrives during the exchange waits for the next one: the other processes do not know of it yet.
        return bool(number)

    def _stopped(self) -> tuple[str, str]:
        images, where = self.trainer.images, f" {as_argument(self.run.path)}" if self.run is not None else ""
        sentence = f"Stopped after {images:,} images, and saved." if images else "Stopped before the first step."
        return sentence, f"Resume with `ganzoo run --resume{where}`."

    @contextmanager
    def _loss_reported(self) -> Iterator[None]:  # by a second Ctrl-C, which quits without saving
        try:
            yield
        except KeyboardInterrupt:
            if self._stop.received is None:
                raise
            sentence, remedy = self._stopped()
            if lost := self.trainer.images - self._saved:
                sentence = f"Stopped without saving: the last {lost:,} of {self.trainer.images:,} images are lost."
            raise Interrupted(sentence, remedy) from None

    def _log_means(self) -> dict[str, float]:
        started_at = time.perf_counter()
        means, gradients = self.trainer.flush(), self.trainer.gradients.flush()
        self.seconds += time.perf_counter() - started_at
        norms = {f"{name}.gradient": norm for name, norm in gradients.items()}
        self._refuse_not_finite([name for name, value in {**means, **norms}.items() if not math.isfinite(value)])
        images, seconds = self._logged_at
        elapsed = self.seconds - seconds
        if elapsed > 0 and means:
            self._log_event(
                "train",
                seconds=round(self.seconds, 3),
                images_per_second=round((self.trainer.images - images) / elapsed, 1),
                **means,
            )
        if gradients:
            self._log_event("health", gradients=gradients)
        self._logged_at = (self.trainer.images, self.seconds)
        return means

    def _save(self) -> None:
        # The last step may have broken weights that no loss has seen yet.
        self._refuse_not_finite([f"{role}.weights" for role in broken_networks(dict(self.trainer.networks.items()))])
        if self._saved != self.trainer.images or self.trainer.images == 0:
            tensors, state = self._checkpoint()
            if self.run is not None:
                self.run.save_checkpoint(tensors, state)
        self._saved, self._saved_at = self.trainer.images, time.monotonic()

    def _checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:  # on all processes: each adds its random state
        tensors, state = self.trainer.checkpoint()
        return tensors, {**state, "seconds": self.seconds, "threads": torch.get_num_threads()}

    def _refuse_not_finite(self, broken: Sequence[str]) -> None:
        if broken:
            self._log_event("diverged", broken=list(broken))
            raise Diverged(
                f"Training diverged: {', '.join(broken)} {'is' if len(broken) == 1 else 'are'} not finite after "
                f"{self.trainer.images:,} images.",
                "Try a lower learning rate, train.precision=fp32 or a regularizer; what was saved before is kept.",
            )

    def _evaluate(self) -> None:  # its checkpoint is saved, so a request to stop need not wait
        trainer, processes = self.trainer, self.trainer.processes
        if self.evaluator.requests:
            self.callbacks.on_scoring(trainer.recipe.evaluate.samples)
        try:
            with self._stop.at_once(*self._stopped()):
                self._draw_grid()
                self._measure_variety()
                for weights in trainer.kinds_of_weights:
                    self._score(weights)
                self._keep_best()
        except Diverged:
            self._log_event("diverged", broken=["samples"])
            raise
        curves = {one.name: self._curve(one.name) for one in self.evaluator.requests}
        scores = {name: curve[trainer.images] for name, curve in curves.items() if trainer.images in curve}
        self.callbacks.on_evaluation(trainer.images, scores)
        self._report_collapse()
        reached = self._reached_score()
        if processes.any(bool(reached)):
            self.reached = reached or "the requested score"  # only the main process knows the scores
        self._evaluated = trainer.images

    def _measure_variety(self) -> None:  # once, even if a resumed run repeats an evaluation
        if self.run is None or self._variety is None:
            return
        if any(event["images"] == self.trainer.images and "variety" in event for event in self.run.events()):
            return
        weights = self.trainer.kinds_of_weights[0]
        images, _ = self._samples(weights, min(SAMPLES, self.trainer.recipe.evaluate.samples))
        measured = self._variety.measure(images)
        good = not too_similar(measured)  # then this checkpoint is kept
        self._log_event("health", weights=weights, features=self._variety.name, good=good, **measured)

    def _report_collapse(self) -> None:  # when it is found; the last evaluation is followed by the diagnosis
        if self.run is None:
            return
        found = [one for one in diagnose(self.run.events()).findings if one.kind == "collapse"]
        if found and not self._collapsed and self.trainer.steps < self.trainer.total_steps:
            self.callbacks.log(f"{self.trainer.images:,} images: collapse: {found[0].sentence} {found[0].advice}")
        self._collapsed = bool(found)

    def _draw_grid(self) -> None:
        self._drawn_at = self.seconds
        if self.run is None:
            return
        modality, views = self.trainer.objective.spec.modality, self.trainer.objective.views
        classes = min(self.trainer.objective.spec.classes, GRID_CLASSES)
        columns = max(1, (classes or GRID_ROWS) // views) * views  # so that a code's views share a row
        shown = modality.overview_size(columns, GRID_ROWS) // views
        labels = torch.arange(shown) % classes if classes else None
        images, _ = self._samples(self.trainer.kinds_of_weights[0], shown, labels=labels, overview=True)
        self.callbacks.on_samples(self.trainer.images, images)
        path = self.run.path / "samples" / f"{self.trainer.images:012d}.png"
        write_atomically(path, png(modality.picture(images, columns)))
        if modality.playable:
            modality.write(path.with_suffix(modality.playable), images[:columns])  # the first row
        for tracker in self.trackers:
            tracker.call("picture", self.trainer.images, path)

    def _record_plane(self) -> None:
        """In a run on 2D data, save what its report replays: samples, and the discriminator's field."""
        trainer, modality = self.trainer, self.trainer.objective.spec.modality
        if self.run is None or not isinstance(modality, Points) or modality.shape[-1] != 2:
            return
        field = discriminator_field(trainer.objective, dict(trainer.networks.items()), trainer.device)
        with suppress(RunError):  # NaN samples: the next checkpoint gives a better report of them
            samples, _ = self._samples(trainer.kinds_of_weights[0], REPLAY_SAMPLES)
            self.run.save_plane(trainer.images, samples.flatten(1), field)

    def _samples(
        self,
        weights: str,
        n: int,
        part: tuple[int, int] = (0, 1),
        *,
        labels: Tensor | None = None,
        overview: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        trainer = self.trainer
        return draw(
            trainer.objective,
            trainer.sampling_networks(weights),
            n,
            seed=SAMPLE_SEED,
            device=trainer.device,
            labels=labels,
            classes=trainer.objective.spec.classes,
            sources=self.sources,
            part=part,
            overview=overview,
        )

    def _score(self, weights: str) -> None:  # drawn by all processes, computed by the main one
        trainer, processes = self.trainer, self.trainer.processes
        missing: list[MetricRequest] = []
        if self.run is not None:
            here = [score for score in self.run.scores() if score["images"] == trainer.images]
            known, own = {identity(score["protocol"]) for score in here}, self._protocols(weights)
            missing = [request for request in self.evaluator.requests if own[request.name] not in known]
        if not processes.any(bool(missing)):
            return
        # Processes draw different samples, so the generator may have diverged for some of them only.
        failure: Diverged | None = None
        try:
            images, labels = self._samples(weights, trainer.recipe.evaluate.samples, (processes.rank, processes.size))
        except Diverged as error:
            failure = error
        if processes.any(failure is not None):
            raise failure or Diverged("The generator draws NaN or infinite values.", "Lower the learning rate.")
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
                # Only for scores that may be final; the others are points on a curve.
                interval=trainer.steps >= trainer.total_steps or bool(trainer.recipe.train.conditions),
            )
            records = [score.record(trainer.images, round(self.seconds, 3)) for score in scores]
            # Before the scores themselves: after a crash in between, a resumed run repeats these and logs none again.
            keys = ("metric", "weights", "value")
            here = [one for one in self.run.events() if (one["event"], one["images"]) == ("score", trainer.images)]
            logged = {tuple(map(one.get, keys)) for one in here}
            for record in records:
                if tuple(map(record.get, keys)) not in logged:
                    self._log_event("score", **{key: record[key] for key in LOGGED if key in record})
            self.run.append_score(*records)

    def _protocols(self, weights: str) -> dict[str, str]:  # the identity of each score, by metric
        n = self.trainer.recipe.evaluate.samples
        return {
            request.name: identity(self.evaluator.protocol(request, n, SAMPLE_SEED, weights))
            for request in self.evaluator.requests
        }

    def _curve(self, metric: str) -> dict[int, float]:  # by images; the run's own evaluations only
        if self.run is None:
            return {}
        own = self._protocols(self.trainer.kinds_of_weights[0])[metric]
        every, now = self.trainer.recipe.evaluate.every_images, self.trainer.images
        return {
            score["images"]: float(score["value"])
            for score in self.run.scores()
            if identity(score["protocol"]) == own
            and (score["images"] == now or (score["images"] < now and self._crossed(every, score["images"])))
        }

    def _better(self, metric: str) -> Literal["lower", "higher"]:
        (better,) = {one.metric.better for one in self.evaluator.requests if one.name == metric}
        return "higher" if better == "higher" else "lower"

    def _keep_best(self) -> None:
        metric, processes = self.trainer.recipe.train.keep_best, self.trainer.processes
        if metric is None:
            return
        best: dict[str, Any] | None = None
        value = self._curve(metric).get(self.trainer.images)
        if self.run is not None and value is not None:
            known, sign = self.run.best() or {}, 1 if self._better(metric) == "lower" else -1
            # Scores that were measured differently, for instance with another evaluate.samples, are not comparable.
            measured = self._protocols(self.trainer.kinds_of_weights[0])[metric]
            same = (known.get("metric"), known.get("protocol")) == (metric, measured)
            if not same or sign * value < sign * known["value"]:
                best = {"metric": metric, "value": value, "images": self.trainer.images, "protocol": measured}
        if not processes.any(best is not None):
            return
        tensors, state = self._checkpoint()
        if self.run is not None and best is not None:
            self.run.save_best(tensors, state, best)

    def _reached_score(self) -> str:  # in words; "" unless all conditions are met
        for until in self.trainer.recipe.train.conditions:
            curve = self._curve(until.metric)
            if self.trainer.images not in curve or not until.is_met(list(curve.values()), self._better(until.metric)):
                return ""
        return " and ".join(until.in_words for until in self.trainer.recipe.train.conditions)

    def _log_event(self, event: str, **facts: Any) -> None:
        if self.run is None:
            return
        record = {"event": event, "images": self.trainer.images, **facts}
        self.run.log(record)
        for tracker in self.trackers:
            tracker.call("log", record)
