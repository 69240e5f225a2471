"""ganzoo: a plugin-based GAN zoo with a benchmark suite.

Everything that a plugin may import stands here, and nothing else is promised to stay. The names are resolved on first
use, so that ``import ganzoo`` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ganzoo import functional, layers
    from ganzoo.api.dataset import Dataset, ImageDataset, Split, cache_folder
    from ganzoo.api.extractor import Extractor
    from ganzoo.api.game import AdversarialGame
    from ganzoo.api.hookspecs import Register, RegisterRecipe, hookimpl
    from ganzoo.api.modality import Audio, Images, Modality, Points
    from ganzoo.api.objective import (
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
    from ganzoo.api.priors import CodesPrior, GaussianPrior, UniformPrior
    from ganzoo.api.spec import Spec
    from ganzoo.api.tracker import Tracker
    from ganzoo.errors import GanzooError
    from ganzoo.runs.generator import TrainedGenerator, load

_HOME = {
    "AdversarialGame": "ganzoo.api.game",
    "AdversarialLoss": "ganzoo.api.objective",
    "Audio": "ganzoo.api.modality",
    "Augmentation": "ganzoo.api.objective",
    "Batch": "ganzoo.api.objective",
    "CodesPrior": "ganzoo.api.priors",
    "Dataset": "ganzoo.api.dataset",
    "Extractor": "ganzoo.api.extractor",
    "GanzooError": "ganzoo.errors",
    "GaussianPrior": "ganzoo.api.priors",
    "ImageDataset": "ganzoo.api.dataset",
    "Images": "ganzoo.api.modality",
    "Losses": "ganzoo.api.objective",
    "Modality": "ganzoo.api.modality",
    "Networks": "ganzoo.api.objective",
    "Objective": "ganzoo.api.objective",
    "Phase": "ganzoo.api.objective",
    "Points": "ganzoo.api.modality",
    "Register": "ganzoo.api.hookspecs",
    "RegisterRecipe": "ganzoo.api.hookspecs",
    "Regularizer": "ganzoo.api.objective",
    "Spec": "ganzoo.api.spec",
    "Split": "ganzoo.api.dataset",
    "Tracker": "ganzoo.api.tracker",
    "TrainedGenerator": "ganzoo.runs.generator",
    "Turn": "ganzoo.api.objective",
    "UniformPrior": "ganzoo.api.priors",
    "cache_folder": "ganzoo.api.dataset",
    "hookimpl": "ganzoo.api.hookspecs",
    "load": "ganzoo.runs.generator",
}

__all__ = [
    "AdversarialGame",
    "AdversarialLoss",
    "Audio",
    "Augmentation",
    "Batch",
    "CodesPrior",
    "Dataset",
    "Extractor",
    "GanzooError",
    "GaussianPrior",
    "ImageDataset",
    "Images",
    "Losses",
    "Modality",
    "Networks",
    "Objective",
    "Phase",
    "Points",
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
