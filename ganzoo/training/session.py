"""A training that writes what happens into a run folder: checkpoints, pictures, scores, events."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from ganzoo.api.modality import png
from ganzoo.api.tracker import Tracker
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.files import write_atomically
from ganzoo.runs.folder import RunFolder
from ganzoo.training.health import SAMPLES, VarietyWatch
from ganzoo.training.loop import Loop
from ganzoo.training.together import SAMPLE_SEED, Helpers, samples
from ganzoo.training.trainer import Trainer

GRID_ROWS = 8
TOLD = ("metric", "value", "floor", "weights", "seconds")


class Session(Loop):
    """The loop of the process that leads, mostly the only one.

    Args:
        trainer: At its first step, or restored from a checkpoint.
        run: Where everything is written.
        evaluator: What scores the samples.
        variety: What tells whether the samples differ from one another.
        trackers: Who else is told.
        tick: Called after each step with the number of images shown (progress bars).
        seconds: Training seconds that earlier processes spent on this run.
    """

    def __init__(
        self,
        trainer: Trainer,
        run: RunFolder,
        evaluator: Evaluator,
        variety: VarietyWatch,
        *,
        trackers: Sequence[Tracker] = (),
        tick: Callable[[int], None] = lambda images: None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(trainer, seconds=seconds)
        self.run = run
        self.evaluator = evaluator
        self.variety = variety
        self.helpers = Helpers(trainer.team)
        self.trackers = trackers
        self.tick = tick

    def _tick(self) -> None:
        self.tick(self.trainer.images)

    def _stopped(self) -> tuple[str, str]:
        return (
            f"Stopped after {self.trainer.images:,} images, and saved.",
            f"Go on with `ganzoo run --resume {self.run.path}`.",
        )

    def _write(self, tensors: Mapping[str, torch.Tensor], state: Mapping[str, Any]) -> None:
        self.run.save_checkpoint(tensors, state)

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
            self.helpers.dismiss()
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
        images, _ = samples(self.trainer, weights, min(SAMPLES, self.trainer.recipe.evaluate.samples))
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
        images, labels = self.helpers.draw(self.trainer, weights, self.trainer.recipe.evaluate.samples)
        features = self.helpers.features(self.evaluator, images)
        scores = self.evaluator.score(
            images, features=features, sample_seed=SAMPLE_SEED, weights=weights, labels=labels
        )
        return [score.record(self.trainer.images, round(self.seconds, 3)) for score in scores]

    def _check_until(self) -> None:
        until, reported = self.trainer.recipe.train.until, self.trainer.kinds_of_weights[0]
        if until is None:
            return
        for score in self._scores_here():
            if score["metric"] == until.metric and score["weights"] == reported and score["value"] < until.below:
                self.reached = f"{until.metric} fell below {until.below:g}"

    def _picture(self) -> None:
        columns = len(self.run.info.get("class_names", ())) if self.trainer.recipe.conditional else GRID_ROWS
        modality = self.trainer.objective.spec.modality
        n = modality.overview_size(columns, GRID_ROWS)
        images, _ = samples(self.trainer, self.trainer.kinds_of_weights[0], n)
        path = self.run.path / "samples" / f"{self.trainer.images:012d}.png"
        write_atomically(path, png(modality.picture(images, columns)))
        for tracker in self.trackers:
            tracker.picture(self.trainer.images, path)

    def _log_event(self, event: str, **facts: Any) -> None:
        record = {"event": event, "images": self.trainer.images, **facts}
        self.run.log(record)
        for tracker in self.trackers:
            tracker.log(record)
