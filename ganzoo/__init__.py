"""ganzoo: a plugin-based GAN zoo with a benchmark suite.

Everything that a plugin may import is listed here; nothing else is guaranteed to stay. Names are resolved on first use,
so that ``import ganzoo`` costs nothing.

Nothing is imported at module level, not even ``typing``: ``python -m ganzoo`` runs this file while the working folder
is still first on the path, and that folder may contain a ``typing.py``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ganzoo import functional, layers
    from ganzoo.api.adversarial import AdversarialGame, AdversarialLoss, Augmentation, Regularizer, RegularizerContext
    from ganzoo.api.bounds import EverySteps, ImageCount, Scale, Share, Shift, Weight
    from ganzoo.api.dataset import Audio, Dataset, ImageDataset, Images, Modality, Points, Split, cache_folder
    from ganzoo.api.hookspecs import Register, RegisterPretrained, RegisterRecipe, RegisterStudy, hookimpl
    from ganzoo.api.metric import Extractor, Features, Metric, MetricInputs, ModelMetric, TrainedModel
    from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase, Spec
    from ganzoo.api.priors import CodesPrior, GaussianPrior, Prior, UniformPrior
    from ganzoo.api.reading import ZippedFile, ZippedFiles, check_bytes, open_picture, open_regular, read_idx
    from ganzoo.api.tracker import Tracker
    from ganzoo.errors import GanzooError
    from ganzoo.evaluation.evaluate import evaluate
    from ganzoo.evaluation.intervals import share_interval
    from ganzoo.runs.api import Run, recipe, recipes, train
    from ganzoo.runs.generator import TrainedGenerator, load

_HOME = {
    "AdversarialGame": "ganzoo.api.adversarial",
    "AdversarialLoss": "ganzoo.api.adversarial",
    "Audio": "ganzoo.api.dataset",
    "Augmentation": "ganzoo.api.adversarial",
    "Batch": "ganzoo.api.objective",
    "CodesPrior": "ganzoo.api.priors",
    "Dataset": "ganzoo.api.dataset",
    "Extractor": "ganzoo.api.metric",
    "Features": "ganzoo.api.metric",
    "GanzooError": "ganzoo.errors",
    "GaussianPrior": "ganzoo.api.priors",
    "ImageDataset": "ganzoo.api.dataset",
    "Images": "ganzoo.api.dataset",
    "Losses": "ganzoo.api.objective",
    "Metric": "ganzoo.api.metric",
    "MetricInputs": "ganzoo.api.metric",
    "ModelMetric": "ganzoo.api.metric",
    "Modality": "ganzoo.api.dataset",
    "Networks": "ganzoo.api.objective",
    "Objective": "ganzoo.api.objective",
    "Phase": "ganzoo.api.objective",
    "Points": "ganzoo.api.dataset",
    "Prior": "ganzoo.api.priors",
    "Register": "ganzoo.api.hookspecs",
    "RegisterPretrained": "ganzoo.api.hookspecs",
    "RegisterRecipe": "ganzoo.api.hookspecs",
    "RegisterStudy": "ganzoo.api.hookspecs",
    "Regularizer": "ganzoo.api.adversarial",
    "Spec": "ganzoo.api.objective",
    "Split": "ganzoo.api.dataset",
    "Tracker": "ganzoo.api.tracker",
    "TrainedGenerator": "ganzoo.runs.generator",
    "TrainedModel": "ganzoo.api.metric",
    "RegularizerContext": "ganzoo.api.adversarial",
    "UniformPrior": "ganzoo.api.priors",
    "EverySteps": "ganzoo.api.bounds",
    "ImageCount": "ganzoo.api.bounds",
    "Scale": "ganzoo.api.bounds",
    "Share": "ganzoo.api.bounds",
    "Shift": "ganzoo.api.bounds",
    "Weight": "ganzoo.api.bounds",
    "cache_folder": "ganzoo.api.dataset",
    "ZippedFile": "ganzoo.api.reading",
    "ZippedFiles": "ganzoo.api.reading",
    "check_bytes": "ganzoo.api.reading",
    "evaluate": "ganzoo.evaluation.evaluate",
    "hookimpl": "ganzoo.api.hookspecs",
    "open_picture": "ganzoo.api.reading",
    "open_regular": "ganzoo.api.reading",
    "read_idx": "ganzoo.api.reading",
    "share_interval": "ganzoo.evaluation.intervals",
    "load": "ganzoo.runs.generator",
    "Run": "ganzoo.runs.api",
    "train": "ganzoo.runs.api",
    "recipe": "ganzoo.runs.api",
    "recipes": "ganzoo.runs.api",
}

__all__ = [
    "AdversarialGame",
    "AdversarialLoss",
    "Audio",
    "Augmentation",
    "Batch",
    "CodesPrior",
    "Dataset",
    "EverySteps",
    "Extractor",
    "Features",
    "GanzooError",
    "GaussianPrior",
    "ImageCount",
    "ImageDataset",
    "Images",
    "Losses",
    "Metric",
    "MetricInputs",
    "Modality",
    "ModelMetric",
    "Networks",
    "Objective",
    "Phase",
    "Points",
    "Prior",
    "Register",
    "RegisterPretrained",
    "RegisterRecipe",
    "RegisterStudy",
    "Regularizer",
    "RegularizerContext",
    "Run",
    "Scale",
    "Share",
    "Shift",
    "Spec",
    "Split",
    "Tracker",
    "TrainedGenerator",
    "TrainedModel",
    "UniformPrior",
    "Weight",
    "ZippedFile",
    "ZippedFiles",
    "cache_folder",
    "check_bytes",
    "evaluate",
    "functional",
    "hookimpl",
    "layers",
    "load",
    "open_picture",
    "open_regular",
    "read_idx",
    "recipe",
    "recipes",
    "share_interval",
    "train",
]


def __getattr__(name: str) -> "Any":
    from importlib import import_module

    if name in ("functional", "layers"):
        return import_module(f"ganzoo.{name}")
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
