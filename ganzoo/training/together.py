"""Evaluation by all processes of a training: each draws its part of the samples, and looks at its part of them.

The process that leads says what is to be done, and the others do it until it says that this was all. Samples, features
and so scores are to the bit what a lone process finds, because batches are the same whoever takes them.
"""

from __future__ import annotations

import json
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from ganzoo.api.extractor import Features
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.sampling import BATCH, WHOLE, draw
from ganzoo.training.distributed import Team
from ganzoo.training.trainer import Trainer

SAMPLE_SEED = 0
"""Of every sample that a training draws of itself."""


def samples(trainer: Trainer, weights: str, n: int, part: tuple[int, int] = WHOLE) -> tuple[Tensor, Tensor | None]:
    """Images of a training's generator and their labels, drawn by this process alone; see ``draw``."""
    return draw(
        trainer.objective,
        trainer.sampling_networks(weights),
        n,
        seed=SAMPLE_SEED,
        device=trainer.device,
        classes=trainer.objective.spec.classes,
        part=part,
    )


class Helpers:
    """The other processes, for the one that leads; where there are none, or too little to do, it works alone.

    Args:
        team: All processes.
    """

    def __init__(self, team: Team) -> None:
        self._team = team

    def draw(self, trainer: Trainer, weights: str, n: int) -> tuple[Tensor, Tensor | None]:
        """As ``samples`` does."""
        if not self._are_worth_it(n):
            return samples(trainer, weights, n)
        self._ask(draw=weights, n=n)
        return _drawn(self._team, trainer, weights, n)

    def features(self, evaluator: Evaluator, images: Tensor) -> dict[str, Features]:
        """As ``Evaluator.features`` does."""
        if not self._are_worth_it(len(images)):
            return evaluator.features(images)
        self._ask(features=True)
        self._team.hand_out(save({"images": images}))
        return evaluator.features(images, Everybody(self._team))

    def dismiss(self) -> None:
        """Nothing more is to be done until the next evaluation."""
        if self._team.size > 1:
            self._ask()

    def _are_worth_it(self, n: int) -> bool:
        return self._team.size > 1 and n > BATCH * (self._team.size - 1)

    def _ask(self, **order: Any) -> None:
        self._team.hand_out(json.dumps(order).encode())


class Everybody:
    """All processes, as an evaluator sees them.

    Args:
        team: All processes.
    """

    def __init__(self, team: Team) -> None:
        self.rank, self.size, self.is_main = team.rank, team.size, team.leads
        self.all_reduce_sum = team.add_up


def help_out(trainer: Trainer, evaluator: Evaluator) -> None:
    """Do what the process that leads asks for, until it has no more to ask.

    Args:
        trainer: This process's.
        evaluator: This process's; it needs no reference.

    Raises:
        GanzooError: An extractor cannot be had on this machine.
    """
    team = trainer.team
    while order := json.loads(team.hand_out()):
        if "draw" in order:
            _drawn(team, trainer, order["draw"], order["n"])
        else:
            evaluator.features(load(team.hand_out())["images"], Everybody(team))


def _drawn(team: Team, trainer: Trainer, weights: str, n: int) -> tuple[Tensor, Tensor | None]:
    images, labels = samples(trainer, weights, n, (team.rank, team.size))
    team.add_up(images)
    return images, labels
