"""What the process that leads tells the others at the start, and what they do with it.

Nothing but JSON, YAML and safetensors travels, so that no process unpickles what another sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load, save
from torch import Tensor

from ganzoo.errors import Interrupted, Terminated
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.recipes.loading import Recipe, load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.runs.checkpoint import Checkpoint
from ganzoo.training.distributed import LostContact, Team
from ganzoo.training.loop import Diverged, Loop
from ganzoo.training.together import help_out
from ganzoo.training.trainer import Trainer


class Follower(Loop):
    """The loop of a process that does not lead: it computes its part, and writes nothing.

    Args:
        trainer: At its first step, or restored from a checkpoint.
        zoo: Where extractors are looked up.
    """

    def __init__(self, trainer: Trainer, zoo: Zoo) -> None:
        super().__init__(trainer)
        recipe = trainer.recipe
        self._evaluator = Evaluator(
            recipe.evaluate.metrics,
            zoo.datasets.get(recipe.dataset.name),
            recipe.dataset.options,
            None,
            zoo,
            trainer.device,
            reference=False,
        )

    def train(self) -> None:
        """Train as long as the leader does."""
        try:
            super().train()
        except LostContact:
            # While the leader scores it is deaf to the others, and leaves at once when it is told to stop.
            if self._stop.received:
                raise self._stop.error(*self._stopped()) from None
            raise

    def _evaluate(self) -> None:
        help_out(self.trainer, self._evaluator)

    def _tick(self) -> None: ...

    def _picture(self) -> None: ...

    def _write(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None: ...

    def _log_event(self, event: str, **facts: Any) -> None: ...


def tell_task(team: Team, recipe: Recipe, data_dir: Path | None) -> None:
    """Tell the others what is trained."""
    task = {"name": recipe.name, "recipe": recipe.to_yaml(), "data_dir": str(data_dir) if data_dir else None}
    team.hand_out(json.dumps(task).encode())


def tell_checkpoint(team: Team, checkpoint: Checkpoint | None) -> None:
    """Tell the others where the training goes on, or that it begins."""
    if team.size > 1:
        team.hand_out(json.dumps(checkpoint.state if checkpoint else None).encode())
        team.hand_out(save(checkpoint.tensors) if checkpoint else b"")


def follow(team: Team, zoo: Zoo) -> None:
    """Train with the others, as the process that leads says; write nothing.

    Raises:
        GanzooError: This process cannot do its part: its machine lacks the dataset, say.
        SystemExit: The training was stopped or diverged, or another process was lost: what concerns all of them, the
            one that leads says.
    """
    try:
        trainer = _trainer(team, zoo)
        state, tensors = json.loads(team.hand_out()), team.hand_out()
        if state is not None:
            trainer.restore(load(tensors), state)
        Follower(trainer, zoo).train()
    except (Diverged, Interrupted, LostContact, Terminated) as error:
        raise SystemExit(error.exit_code) from None


def _trainer(team: Team, zoo: Zoo) -> Trainer:
    task: dict[str, Any] = json.loads(team.hand_out())
    with TemporaryDirectory() as folder:
        file = Path(folder) / f"{task['name']}.yaml"
        file.write_text(task["recipe"], "utf-8")
        recipe = load_recipe(file, zoo)
    data_dir = Path(task["data_dir"]) if task["data_dir"] else None
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", data_dir, **recipe.dataset.options)
    return Trainer(recipe, zoo, dataset=dataset, team=team)
