"""The bridge to torch-fidelity: its formulas on our features, and our extractors in its registry."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    import numpy as np

    from ganzoo.extractor import Extractor

Statistics = Mapping[str, "np.ndarray[Any, np.dtype[np.float64]]"]
"""Mean ``mu`` (width,) and covariance ``sigma`` (width, width), float64."""


def version() -> str:
    """torch-fidelity's version: part of every protocol."""
    import torch_fidelity

    return str(torch_fidelity.__version__)


def statistics(features: Tensor) -> Statistics:
    """Mean and covariance of features.

    Args:
        features: (n, width) float32, n at least 2.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics

    # torch-fidelity averages in the type it is given, and a float32 sum of many rows depends on their order.
    found = fid_features_to_statistics(features)
    return {"mu": features.mean(0, dtype=torch.float64).numpy(), "sigma": found["sigma"]}


def frechet_distance(fake: Statistics, real: Statistics) -> float:
    """The Fréchet distance between two Gaussians (Heusel et al. 2017, arXiv:1706.08500, equation 6).

    Returns:
        At least 0 up to rounding; 0 for equal statistics. Squared units of the features.
    """
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(fake, real, verbose=False)[KEY_METRIC_FID])


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
        """A ganzoo extractor as torch-fidelity wants it: layers by name, float64 as in ``statistics``."""

        def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
            super().__init__(name, features_list)
            self.extractor = copy.deepcopy(extractor)

        @staticmethod
        def get_provided_features_list() -> tuple[str, ...]:
            return ("features", "logits") if extractor.classes else ("features",)

        @staticmethod
        def get_default_feature_layer_for_metric(metric: str) -> str:
            return "logits" if metric == "isc" else "features"

        @staticmethod
        def can_be_compiled() -> bool:
            return False

        def forward(self, images: Tensor) -> tuple[Tensor, ...]:
            features, logits = self.extractor(images)
            layers = {"features": features, "logits": logits}
            return tuple(layers[layer].double() for layer in self.features_list)

    return Adapted
