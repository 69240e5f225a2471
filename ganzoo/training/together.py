"""Evaluation by all processes of a training: each draws its part of the samples, and looks at its part of them.

The process that leads says what is to be done, and the others do it until it says that this was all. Samples, features
and so scores are to the bit what a lone process finds, because batches are the same whoever takes them.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from safetensors.torch import load, save
from torch import Tensor

from ganzoo.api.extractor import Extractor
from ganzoo.evaluation import features
from ganzoo.evaluation.features import Features, extract
from ganzoo.evaluation.sampling import BATCH, WHOLE, draw
from ganzoo.registry.loading import Zoo
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

    def look(self, name: str, extractor: Extractor, images: Tensor, device: torch.device) -> Features:
        """As ``extract`` does."""
        if not self._are_worth_it(len(images)):
            return extract(name, extractor, images, device)
        self._ask(look=name)
        self._team.hand_out(save({"images": images}))
        return _seen(self._team, name, extractor, images, device)

    def dismiss(self) -> None:
        """Nothing more is to be done until the next evaluation."""
        if self._team.size > 1:
            self._ask()

    def _are_worth_it(self, n: int) -> bool:
        return self._team.size > 1 and n > BATCH * (self._team.size - 1)

    def _ask(self, **order: Any) -> None:
        self._team.hand_out(json.dumps(order).encode())


def help_out(trainer: Trainer, zoo: Zoo, known: dict[str, Extractor]) -> None:
    """Do what the process that leads asks for, until it has no more to ask.

    Args:
        trainer: This process's.
        zoo: Where extractors are looked up.
        known: Extractors of earlier evaluations; new ones are added.

    Raises:
        GanzooError: An extractor cannot be had on this machine.
    """
    team = trainer.team
    while order := json.loads(team.hand_out()):
        if "draw" in order:
            _drawn(team, trainer, order["draw"], order["n"])
            continue
        name, images = order["look"], load(team.hand_out())["images"]
        if name not in known:
            channels, height, width = images.shape[1:]
            known[name] = features.find_extractor(name, zoo, (channels, height, width)).to(trainer.device)
        _seen(team, name, known[name], images, trainer.device)


def _drawn(team: Team, trainer: Trainer, weights: str, n: int) -> tuple[Tensor, Tensor | None]:
    images, labels = samples(trainer, weights, n, (team.rank, team.size))
    team.add_up(images)
    return images, labels


def _seen(team: Team, name: str, extractor: Extractor, images: Tensor, device: torch.device) -> Features:
    features = extract(name, extractor, images, device, part=(team.rank, team.size))
    team.add_up(features.values)
    if features.logits is not None:
        team.add_up(features.logits)
    return features
