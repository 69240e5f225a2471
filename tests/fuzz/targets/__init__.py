"""The fuzz targets: everything that reads untrusted data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random


@dataclass(frozen=True)
class Target:
    """One target.

    Attributes:
        function: Writes a random input into the folder and lets ganzoo read it.
        share: Its share of all inputs.
    """

    function: Callable[[Random, Path], object]
    share: int

    def __call__(self, random: Random, folder: Path) -> None:
        """Run one input."""
        self.function(random, folder)


def all_targets(models: Path) -> dict[str, Target]:
    """Every target by name.

    Args:
        models: A folder for the intact files that inputs are made from.
    """
    import torch

    from ganzoo import build
    from ganzoo.registry.loading import load_zoo
    from targets import datasets, numbers, pictures, plugins, recipes, results, runs

    torch.set_num_threads(1)
    build.machine_memory = lambda: 64 * 2**20  # reject networks beyond that, as on a small machine
    zoo = load_zoo()
    run = runs.Targets(zoo, models)
    kinds = (
        recipes.Targets(zoo),
        run,
        numbers.Targets(zoo, run.intact),
        results.Targets(),
        pictures.Targets(),
        datasets.Targets(zoo),
    )
    return {name: target for kind in (*kinds, plugins.Targets()) for name, target in kind.all().items()}
