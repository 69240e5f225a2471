"""Registers a ganzoo extractor with torch-fidelity, to compare torch-fidelity's own functions with our scores."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.registry import FEATURE_EXTRACTORS_REGISTRY, register_feature_extractor

from ganzoo import Extractor


def register(name: str, extractor: Extractor) -> str:
    """Make an extractor known to torch-fidelity; returns its name there. Registering it twice is harmless."""
    known_as = f"{name}-{extractor.digest[:12]}"
    if known_as not in FEATURE_EXTRACTORS_REGISTRY:
        register_feature_extractor(known_as, _adapted(extractor))
    return known_as


def _adapted(extractor: Extractor) -> type:
    class Adapted(FeatureExtractorBase):  # type: ignore[misc]
        """A ganzoo extractor as torch-fidelity expects it: layers by name, float64."""

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
