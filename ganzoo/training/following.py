"""What the process that leads tells the others at the start, and what they do with it.

Nothing but JSON, YAML and safetensors travels, so that no process unpickles what another sent.
"""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import load, save

from ganzoo.errors import Interrupted, Terminated
from ganzoo.plugins import Zoo
from ganzoo.recipe import Recipe, load_recipe
from ganzoo.runs.checkpoint import Checkpoint
from ganzoo.training.distributed import LostContact, Team
from ganzoo.training.loop import Diverged, Follower
from ganzoo.training.trainer import Trainer


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
        Follower(trainer).train()
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
