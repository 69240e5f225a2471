"""ganzoo: a plugin-based GAN zoo with a benchmark suite.

Everything that a plugin may import stands here, and nothing else is promised to stay. The names are resolved on first
use, so that ``import ganzoo`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo import functional, layers
    from ganzoo.data.dataset import ImageDataset, Split, cache_folder
    from ganzoo.errors import GanzooError
    from ganzoo.evaluation.generator import TrainedGenerator, load
    from ganzoo.extractor import Extractor
    from ganzoo.game import AdversarialGame
    from ganzoo.hookspecs import Register, RegisterRecipe, hookimpl
    from ganzoo.objective import (
        AdversarialLoss,
        Augmentation,
        Batch,
        Losses,
        Networks,
        Objective,
        Phase,
        Regularizer,
        Turn,
    )
    from ganzoo.priors import CodesPrior, GaussianPrior, UniformPrior
    from ganzoo.spec import Spec
    from ganzoo.tracker import Tracker

_HOME = {
    "AdversarialGame": "ganzoo.game",
    "AdversarialLoss": "ganzoo.objective",
    "Augmentation": "ganzoo.objective",
    "Batch": "ganzoo.objective",
    "CodesPrior": "ganzoo.priors",
    "Extractor": "ganzoo.extractor",
    "GanzooError": "ganzoo.errors",
    "GaussianPrior": "ganzoo.priors",
    "ImageDataset": "ganzoo.data.dataset",
    "Losses": "ganzoo.objective",
    "Networks": "ganzoo.objective",
    "Objective": "ganzoo.objective",
    "Phase": "ganzoo.objective",
    "Register": "ganzoo.hookspecs",
    "RegisterRecipe": "ganzoo.hookspecs",
    "Regularizer": "ganzoo.objective",
    "Spec": "ganzoo.spec",
    "Split": "ganzoo.data.dataset",
    "Tracker": "ganzoo.tracker",
    "TrainedGenerator": "ganzoo.evaluation.generator",
    "Turn": "ganzoo.objective",
    "UniformPrior": "ganzoo.priors",
    "cache_folder": "ganzoo.data.dataset",
    "hookimpl": "ganzoo.hookspecs",
    "load": "ganzoo.evaluation.generator",
}

__all__ = [
    "AdversarialGame",
    "AdversarialLoss",
    "Augmentation",
    "Batch",
    "CodesPrior",
    "Extractor",
    "GanzooError",
    "GaussianPrior",
    "ImageDataset",
    "Losses",
    "Networks",
    "Objective",
    "Phase",
    "Register",
    "RegisterRecipe",
    "Regularizer",
    "Spec",
    "Split",
    "Tracker",
    "TrainedGenerator",
    "Turn",
    "UniformPrior",
    "cache_folder",
    "functional",
    "hookimpl",
    "layers",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in ("functional", "layers"):
        return import_module(f"ganzoo.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
