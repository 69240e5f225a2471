"""The bridge to torch-fidelity: its formulas on our features, and its extractors."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch import Tensor

if TYPE_CHECKING:
    from ganzoo.api.extractor import Extractor, Statistics

SEED = 2020
"""torch-fidelity's own, for whatever is drawn at random inside a metric."""
KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
IS_SPLITS = 10


def version() -> str:
    """torch-fidelity's version: part of every protocol."""
    import torch_fidelity

    return str(torch_fidelity.__version__)


def frechet_distance(fake: Statistics, real: Statistics) -> float:
    """The Fréchet distance between two Gaussians (Heusel et al. 2017, arXiv:1706.08500, equation 6).

    Returns:
        At least 0 up to rounding; 0 for equal statistics. Squared units of the features.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(fake, real, verbose=False)[KEY_METRIC_FID])


def kernel_distance(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Kernel distance: the mean squared MMD of seeded subsets (Bińkowski et al. 2018, arXiv:1801.01401).

    Args:
        fake: (n, width).
        real: (m, width).

    Returns:
        An unbiased estimate: zero or a little less for equal distributions, more for others. And the standard
        deviation over the subsets.
    """
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = kernel_subset(len(fake), len(real))
    found = kid_features_to_metric(
        fake, real, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=SEED, verbose=False
    )
    return float(found[KEY_METRIC_KID_MEAN]), float(found[KEY_METRIC_KID_STD])


def kernel_subset(n_fake: int, n_real: int) -> int:
    """How many images a subset of the kernel distance has: 1,000 where there are as many."""
    return min(KID_SUBSET_SIZE, n_fake, n_real)


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """Inception Score with the extractor's own classes (Salimans et al. 2016, arXiv:1606.03498).

    Args:
        logits: (n, classes).

    Returns:
        1 to the number of classes, and the standard deviation over the splits.
    """
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    found = isc_features_to_metric(logits, splits=score_splits(len(logits)), rng_seed=SEED)
    return float(found[KEY_METRIC_ISC_MEAN]), float(found[KEY_METRIC_ISC_STD])


def score_splits(n: int) -> int:
    """Into how many parts the classifier score splits images: 10, of at least two images each."""
    return max(1, min(IS_SPLITS, n // 2))


def register(name: str, extractor: Extractor) -> str:
    """Make an extractor known to torch-fidelity, so that its own functions and command can use it.

    Args:
        name: The extractor's name in ganzoo.
        extractor: Stays as it is: torch-fidelity works on copies.

    Returns:
        The name in torch-fidelity's registry, ``<name>-<first 12 digits of the digest>``. Registering
        it twice is harmless.
    """
    from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

    known_as = f"{name}-{extractor.digest[:12]}"
    if known_as not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(known_as, _adapted(extractor))
    return known_as


def _adapted(extractor: Extractor) -> type:
    from torch_fidelity.feature_extractor_base import FeatureExtractorBase

    class Adapted(FeatureExtractorBase):  # type: ignore[misc]
        """A ganzoo extractor as torch-fidelity wants it: layers by name, float64."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)
            self.extractor = copy.deepcopy(extractor)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "projected", "logits") if extractor.classes else ("features", "projected")

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return {"isc": "logits", "fid": "projected"}.get(metric, "features")

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            features, logits = self.extractor(images)
            projection = self.extractor.projection
            projected = features if projection is None else features.double() @ projection.double()
            layers = {"features": features, "projected": projected, "logits": logits}
            return tuple(layers[layer].double() for layer in self.features_list)

    return Adapted
