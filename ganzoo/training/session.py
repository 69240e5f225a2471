"""A training from its first step to its last: log points, checkpoints, evaluations, early end, interruption."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ganzoo.errors import RunError
from ganzoo.evaluation.judge import Judge
from ganzoo.evaluation.sampling import draw
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.pictures import overview, save_picture
from ganzoo.tracker import Tracker
from ganzoo.training.health import SAMPLES, VarietyWatch, broken_networks
from ganzoo.training.interruption import StopRequests
from ganzoo.training.trainer import Trainer

GRID_ROWS = 8
POINTS = 2500
SAMPLE_SEED = 0
TOLD = ("metric", "value", "floor", "weights", "seconds")


class Session:
    """Drives a trainer and writes what happens into a run folder.

    Args:
        trainer: At its first step, or restored from a checkpoint.
        run: Where everything is written.
        judge: What scores the samples.
        variety: What tells whether the samples differ from one another.
        trackers: Who else is told.
        tick: Called after each step with the number of images shown (progress bars).
        seconds: Training seconds that earlier processes spent on this run.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        judge: Judge,
        variety: VarietyWatch,
        *,
        trackers: Sequence[Tracker] = (),
        tick: Callable[[int], None] = lambda images: None,
        seconds: float = 0.0,
    ) -> None:
        self.trainer = trainer
        self.run = run
        self.judge = judge
        self.variety = variety
        self.trackers = trackers
        self.tick = tick
        self.seconds = seconds
        self.reached = ""
        self._logged_at = (trainer.images, seconds)
        self._saved_at = time.monotonic()
        self._saved = trainer.images
        self._evaluated = -1
        self._stop = StopRequests()

    def train(self) -> None:
        """Train to the end, or until the score that was asked for is reached.

        Raises:
            Interrupted: Ctrl-C; the state is saved.
            Terminated: SIGTERM; the state is saved.
            RunError: A loss, a gradient or a weight is no longer finite; the last good checkpoint is kept.
        """
        trainer = self.trainer
        with self._stop:
            self._arrive()
            while trainer.steps < trainer.total_steps and not self.reached:
                self._advance()
                if self._stop.received:
                    self._log()
                    self._save()
                    raise self._stop.error(*self._stopped())
            if self._evaluated != trainer.images:
                self._log()
                self._save()
                self._evaluate()
        self._log_event("end", seconds=self.seconds, reason=self.reached or "all images shown")

    def _stopped(self) -> tuple[str, str]:
        return (
            f"Stopped after {self.trainer.images:,} images, and saved.",
            f"Go on with `ganzoo run --resume {self.run.path}`.",
        )

    def _arrive(self) -> None:
        """At the start the untrained grid; on resume the evaluation that a crash may have cut off."""
        trainer = self.trainer
        if trainer.images == 0:
            self._picture()
        elif self._due(self.trainer.recipe.evaluate.every):
            self._evaluate()

    def _advance(self) -> None:
        trainer, recipe = self.trainer, self.trainer.recipe
        began = time.perf_counter()
        trainer.step()
        self.seconds += time.perf_counter() - began
        self.tick(trainer.images)
        evaluate = self._due(recipe.evaluate.every)
        if self._due(recipe.train.log_every) or evaluate:
            self._log()
            if evaluate or time.monotonic() - self._saved_at > recipe.train.checkpoint_seconds:
                self._save()
        if evaluate:
            self._evaluate()

    def _due(self, every: int | None) -> bool:
        """Whether the last step crossed a multiple of ``every`` images."""
        images = self.trainer.images
        return every is not None and images // every > (images - self.trainer.images_per_step) // every

    def _log(self) -> None:
        began = time.perf_counter()
        means, gradients = self.trainer.meters.flush(), self.trainer.gradients.flush()
        self.seconds += time.perf_counter() - began
        self._refuse_non_finite({**means, **{f"{name}.gradient": norm for name, norm in gradients.items()}})
        images, seconds = self._logged_at
        elapsed = self.seconds - seconds
        if elapsed > 0 and means:
            rate = (self.trainer.images - images) / elapsed
            self._log_event("train", seconds=round(self.seconds, 3), images_per_second=round(rate, 1), **means)
        if gradients:
            self._log_event("health", gradients=gradients)
        self._logged_at = (self.trainer.images, self.seconds)

    def _refuse_non_finite(self, means: Mapping[str, float]) -> None:
        self._refuse([name for name, value in means.items() if not math.isfinite(value)])

    def _refuse(self, broken: Sequence[str]) -> None:
        if broken:
            self._log_event("diverged", broken=list(broken))
            raise RunError(
                f"Training diverged: {', '.join(broken)} is not finite after {self.trainer.images:,} images.",
                "The last good checkpoint is kept; try a lower learning rate, train.precision=fp32 or a regularizer.",
            )

    def _save(self) -> None:
        # The last step may have broken weights that no loss has seen yet.
        self._refuse([f"{role}.weights" for role in broken_networks(dict(self.trainer.networks.items()))])
        if self._saved != self.trainer.images:
            tensors, state = self.trainer.checkpoint()
            self.run.save_checkpoint(tensors, {**state, "seconds": self.seconds})
        self._saved, self._saved_at = self.trainer.images, time.monotonic()

    def _evaluate(self) -> None:
        """Draw the grid, and score every kind of weights that has no score at this point yet.

        The checkpoint of this point is on the disk, so a request to stop need not wait for the end.
        """
        with self._stop.at_once(*self._stopped()):
            self._picture()
            self._watch_variety()
            for weights in self.trainer.kinds_of_weights:
                self._complete_scores(weights)
            self._tell_scores()
        self._evaluated = self.trainer.images
        self._check_until()

    def _complete_scores(self, weights: str) -> None:
        known = {(score["metric"], score["weights"]) for score in self._scores_here()}
        if any((metric, weights) not in known for metric in self.trainer.recipe.evaluate.metrics):
            self.run.append_score(*(one for one in self._score(weights) if (one["metric"], weights) not in known))

    def _tell_scores(self) -> None:
        """An event for each score that has none yet: a crash may have come between the two."""
        here = [event for event in self.run.events() if event["images"] == self.trainer.images]
        told = {(event.get("metric"), event.get("weights")) for event in here if event["event"] == "score"}
        for score in self._scores_here():
            if (score["metric"], score["weights"]) not in told:
                told.add((score["metric"], score["weights"]))
                self._log_event("score", **{key: score.get(key) for key in TOLD})

    def _watch_variety(self) -> None:
        weights = self.trainer.kinds_of_weights[0]
        images, _ = self._draw(weights, min(SAMPLES, self.trainer.recipe.evaluate.samples))
        self._log_event("health", weights=weights, features=self.variety.name, **self.variety.measure(images))

    def _scores_here(self) -> list[dict[str, Any]]:
        """What this run itself scored at this point; `ganzoo eval` may have added scores of other samples."""
        recipe = self.trainer.recipe
        own = {"sample_seed": SAMPLE_SEED, "n_fake": recipe.evaluate.samples, "dataset": recipe.dataset.name}
        return [
            score
            for score in self.run.scores()
            if score["images"] == self.trainer.images and own.items() <= score["protocol"].items()
        ]

    def _score(self, weights: str) -> list[dict[str, Any]]:
        images, labels = self._draw(weights, self.trainer.recipe.evaluate.samples)
        measured = self.judge.score(images, sample_seed=SAMPLE_SEED, weights=weights, labels=labels)
        return [one.record(self.trainer.images, round(self.seconds, 3)) for one in measured]

    def _check_until(self) -> None:
        until, reported = self.trainer.recipe.train.until, self.trainer.kinds_of_weights[0]
        if until is None:
            return
        for score in self._scores_here():
            if score["metric"] == until.metric and score["weights"] == reported and score["value"] < until.below:
                self.reached = f"{until.metric} fell below {until.below:g}"

    def _picture(self) -> None:
        columns = len(self.run.info.get("class_names", ())) if self.trainer.recipe.conditional else GRID_ROWS
        n = GRID_ROWS * columns if self.trainer.objective.spec.quantised else POINTS
        images, _ = self._draw(self.trainer.kinds_of_weights[0], n)
        path = self.run.path / "samples" / f"{self.trainer.images:012d}.png"
        save_picture(overview(images, columns), path)
        for tracker in self.trackers:
            tracker.picture(self.trainer.images, path)

    def _draw(self, weights: str, n: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        trainer = self.trainer
        return draw(
            trainer.objective,
            trainer.sampling_networks(weights),
            n,
            seed=SAMPLE_SEED,
            device=trainer.device,
            classes=trainer.objective.spec.classes,
        )

    def _log_event(self, event: str, **facts: Any) -> None:
        record = {"event": event, "images": self.trainer.images, **facts}
        self.run.log(record)
        for tracker in self.trackers:
            tracker.log(record)
