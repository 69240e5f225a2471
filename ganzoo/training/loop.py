"""A training from its first step to its last: log points, checkpoints, evaluations, early end, interruption."""

from __future__ import annotations

import math
import signal
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ganzoo.errors import RunError
from ganzoo.training.health import broken_networks
from ganzoo.training.signals import StopRequests
from ganzoo.training.trainer import Trainer

STEPS_TO_HEAR = 8
"""Several processes ask one another whether to stop after so many steps: torchrun kills after 30 seconds."""


class Diverged(RunError):
    """A loss, a gradient or a weight is no longer finite."""


class Loop(ABC):
    """Drives a trainer. Where several processes train, each runs one, and all take every decision together.

    Args:
        trainer: At its first step, or restored from a checkpoint.
        seconds: Training seconds that earlier processes spent on this run.
    """

    def __init__(self, trainer: Trainer, *, seconds: float = 0.0) -> None:
        self.trainer = trainer
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
            Diverged: A loss, a gradient or a weight is no longer finite; the last good checkpoint is kept.
        """
        trainer = self.trainer
        with self._stop:
            self._arrive()
            while trainer.steps < trainer.total_steps and not self.reached:
                self._advance()
                if self._asked_to_stop():
                    self._log()
                    self._save()
                    raise self._stop.error(*self._stopped())
            if self._evaluated != trainer.images:
                self._log()
                self._save()
                self._judge()
        self._log_event("end", seconds=self.seconds, reason=self.reached or "all images shown")

    def _asked_to_stop(self) -> bool:
        team = self.trainer.team
        if team.size == 1:
            return self._stop.received is not None
        if self.trainer.steps % STEPS_TO_HEAR:
            return False
        (number,) = team.highest([float(self._stop.received or 0)])
        if number:
            self._stop.received = signal.Signals(int(number))
        # What arrived while they asked one another stays for the next time: nobody else has heard of it.
        return bool(number)

    def _stopped(self) -> tuple[str, str]:
        return f"Stopped after {self.trainer.images:,} images, and saved.", "Go on with `ganzoo run --resume`."

    def _arrive(self) -> None:
        """At the start the untrained grid; on resume the evaluation that a crash may have cut off."""
        trainer = self.trainer
        if trainer.images == 0:
            self._picture()
        elif self._due(trainer.recipe.evaluate.every_images):
            self._judge()

    def _advance(self) -> None:
        trainer, recipe = self.trainer, self.trainer.recipe
        began = time.perf_counter()
        trainer.step()
        self.seconds += time.perf_counter() - began
        self._tick()
        evaluate = self._due(recipe.evaluate.every_images)
        if self._due(recipe.train.log_every) or evaluate:
            self._log()
            overdue = time.monotonic() - self._saved_at > recipe.train.checkpoint_seconds
            if trainer.team.any(overdue) or evaluate:
                self._save()
        if evaluate:
            self._judge()

    def _due(self, every: int | None) -> bool:
        """Whether the last step crossed a multiple of ``every`` images."""
        images = self.trainer.images
        return every is not None and images // every > (images - self.trainer.images_per_step) // every

    def _log(self) -> None:
        began = time.perf_counter()
        means, gradients = self.trainer.flush(), self.trainer.gradients.flush()
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
            raise Diverged(
                f"Training diverged: {', '.join(broken)} is not finite after {self.trainer.images:,} images.",
                "The last good checkpoint is kept; try a lower learning rate, train.precision=fp32 or a regularizer.",
            )

    def _save(self) -> None:
        # The last step may have broken weights that no loss has seen yet.
        self._refuse([f"{role}.weights" for role in broken_networks(dict(self.trainer.networks.items()))])
        if self._saved != self.trainer.images:
            tensors, state = self.trainer.checkpoint()
            self._write(tensors, {**state, "seconds": self.seconds})
        self._saved, self._saved_at = self.trainer.images, time.monotonic()

    def _judge(self) -> None:
        """The evaluation, led by one process, which tells the others what it found about ``train.until``."""
        self._evaluate()
        self._evaluated = self.trainer.images
        if self.trainer.team.any(bool(self.reached)):
            self.reached = self.reached or "the score that was asked for"

    @abstractmethod
    def _tick(self) -> None:
        """After each step."""

    @abstractmethod
    def _picture(self) -> None:
        """Draw the grid."""

    @abstractmethod
    def _evaluate(self) -> None:
        """Score; the checkpoint of this point is on the disk."""

    @abstractmethod
    def _write(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Save a checkpoint."""

    @abstractmethod
    def _log_event(self, event: str, **facts: Any) -> None:
        """Note what happens."""
