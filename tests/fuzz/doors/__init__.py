"""The doors: everything that reads what a stranger may have made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random


@dataclass(frozen=True)
class Door:
    """One way in.

    Attributes:
        enter: Makes an input from the random numbers, in the folder, and has ganzoo read it.
        share: How many inputs it gets, beside the others.
    """

    enter: Callable[[Random, Path], object]
    share: int

    def __call__(self, random: Random, folder: Path) -> None:
        """One input."""
        self.enter(random, folder)


def open_doors(models: Path) -> dict[str, Door]:
    """Every door by its name.

    Args:
        models: A folder for the whole inputs that damaged ones are made from.
    """
    import torch

    from doors import datasets, pictures, plugins, recipes, results, runs
    from ganzoo import build as footprint
    from ganzoo.registry.loading import load_zoo

    torch.set_num_threads(1)
    footprint._memory = lambda: 64 * 2**20  # networks beyond that are refused, as on a small machine
    zoo = load_zoo()
    kinds = (recipes.Doors(zoo), runs.Doors(zoo, models), results.Doors(), pictures.Doors(), datasets.Doors(zoo))
    return {name: door for kind in (*kinds, plugins.Doors()) for name, door in kind.all().items()}
