"""ganzoo: a plugin-based GAN zoo with a benchmark suite.

Everything that a plugin may import is listed here; nothing else is guaranteed to stay. Names are resolved on first use,
so that ``import ganzoo`` costs nothing.

Nothing is imported at module level, not even ``typing``: ``python -m ganzoo`` runs this file while the working folder
is still first on the path, and that folder may contain a ``typing.py``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ganzoo import functional, layers
    from ganzoo.api.adversarial import AdversarialGame, AdversarialLoss, Augmentation, Regularizer, RegularizerContext
    from ganzoo.api.bounds import EverySteps, ImageCount, Scale, Share, Shift, Weight
    from ganzoo.api.dataset import Dataset, Images, Modality, Points, Split, cache_folder
    from ganzoo.api.hookspecs import Register, RegisterPretrained, RegisterRecipe, RegisterStudy, beside, hookimpl
    from ganzoo.api.metric import (
        Extractor,
        Features,
        Metric,
        MetricInputs,
        ModelMetric,
        TrainedModel,
        check_code_allowed,
    )
    from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase, Spec
    from ganzoo.api.priors import CodesPrior, GaussianPrior, Prior, UniformPrior
    from ganzoo.api.reading import ZippedFile, ZippedFiles, check_bytes, open_picture, open_regular, read_idx
    from ganzoo.api.tracker import Tracker
    from ganzoo.config.schema import Recipe
    from ganzoo.errors import Diverged, GanzooError, Interrupted, foreign_code
    from ganzoo.evaluation.evaluate import evaluate, read_pictures
    from ganzoo.evaluation.intervals import share_interval
    from ganzoo.evaluation.protocol import Score
    from ganzoo.registry.session import (
        register_augmentation,
        register_dataset,
        register_discriminator,
        register_encoder,
        register_extractor,
        register_generator,
        register_loss,
        register_metric,
        register_prior,
        register_recipe,
        register_regularizer,
        register_study,
        register_tracker,
    )
    from ganzoo.runs.api import Run, recipe, recipes, train
    from ganzoo.runs.generator import TrainedGenerator, load
    from ganzoo.runs.pretrained import download

_HOME = {
    name: module
    for module, names in {
        "ganzoo.api.adversarial": "AdversarialGame AdversarialLoss Augmentation Regularizer RegularizerContext",
        "ganzoo.api.bounds": "EverySteps ImageCount Scale Share Shift Weight",
        "ganzoo.api.dataset": "Dataset Images Modality Points Split cache_folder",
        "ganzoo.api.hookspecs": "Register RegisterPretrained RegisterRecipe RegisterStudy beside hookimpl",
        "ganzoo.api.metric": "Extractor Features Metric MetricInputs ModelMetric TrainedModel check_code_allowed",
        "ganzoo.api.objective": "Batch Losses Networks Objective Phase Spec",
        "ganzoo.api.priors": "CodesPrior GaussianPrior Prior UniformPrior",
        "ganzoo.api.reading": "ZippedFile ZippedFiles check_bytes open_picture open_regular read_idx",
        "ganzoo.api.tracker": "Tracker",
        "ganzoo.config.schema": "Recipe",
        "ganzoo.errors": "Diverged GanzooError Interrupted foreign_code",
        "ganzoo.evaluation.evaluate": "evaluate read_pictures",
        "ganzoo.evaluation.intervals": "share_interval",
        "ganzoo.evaluation.protocol": "Score",
        "ganzoo.registry.session": "register_augmentation register_dataset register_discriminator register_encoder "
        "register_extractor register_generator register_loss register_metric register_prior register_recipe "
        "register_regularizer register_study register_tracker",
        "ganzoo.runs.api": "Run recipe recipes train",
        "ganzoo.runs.generator": "TrainedGenerator load",
        "ganzoo.runs.pretrained": "download",
    }.items()
    for name in names.split()
}
"""The module that defines each name, in the order of the imports above, which only type checkers see."""

__all__ = [
    "AdversarialGame",
    "AdversarialLoss",
    "Augmentation",
    "Batch",
    "CodesPrior",
    "Dataset",
    "Diverged",
    "EverySteps",
    "Extractor",
    "Features",
    "GanzooError",
    "GaussianPrior",
    "ImageCount",
    "Images",
    "Interrupted",
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
    "Recipe",
    "Register",
    "RegisterPretrained",
    "RegisterRecipe",
    "RegisterStudy",
    "Regularizer",
    "RegularizerContext",
    "Run",
    "Scale",
    "Score",
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
    "beside",
    "cache_folder",
    "check_bytes",
    "check_code_allowed",
    "download",
    "evaluate",
    "foreign_code",
    "functional",
    "hookimpl",
    "layers",
    "load",
    "open_picture",
    "open_regular",
    "read_idx",
    "read_pictures",
    "recipe",
    "recipes",
    "register_augmentation",
    "register_dataset",
    "register_discriminator",
    "register_encoder",
    "register_extractor",
    "register_generator",
    "register_loss",
    "register_metric",
    "register_prior",
    "register_recipe",
    "register_regularizer",
    "register_study",
    "register_tracker",
    "share_interval",
    "train",
]


if not TYPE_CHECKING:  # type checkers would accept any name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name in ("functional", "layers"):
            return import_module(f"ganzoo.{name}")
        if name in _HOME:
            return getattr(import_module(_HOME[name]), name)
        raise AttributeError(f"module 'ganzoo' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
