"""The fuzz targets: everything that reads untrusted data."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from random import Random


class Target(NamedTuple):
    """One target."""

    function: Callable[[Random, Path], object]  # writes a random input into the folder and lets ganzoo read it
    share: int  # of all inputs


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
    kinds = [recipes.Targets(zoo), run, numbers.Targets(zoo, run.intact), results.Targets(), pictures.Targets()]
    kinds += [datasets.Targets(zoo), plugins.Targets()]
    return {name: target for kind in kinds for name, target in kind.all().items()}
