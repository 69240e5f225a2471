"""How faithful translations are: to the target of their source, and to the class of their source.

``target-distance`` is the mean over pixels of |y - G(x)|, with black as 0 and white as 1, over the reference's pairs:
the L1 of Isola et al. 2017, arXiv:1611.07004. It rewards blur, so it goes with a distance between distributions.

``kept-class`` is the share of translations that a classifier assigns to the class of their source. Isola et al. judge
labels from photographs in this way, by a network for segmentation.

Both need an objective with a method ``translate(networks, images, label)``, whose images are sources. The classes of
sources are the labels, and in a dataset with a column ``unpaired``, its column ``source_label``.
"""

from __future__ import annotations

import math
from dataclasses import replace

from torch import Tensor

from ganzoo import (
    Dataset,
    Extractor,
    Images,
    Metric,
    MetricInputs,
    ModelMetric,
    Objective,
    Register,
    hookimpl,
    share_interval,
)

PAPER = "Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv:1611.07004"
UNPAIRED = "unpaired"


class Translation(ModelMetric):
    """The base of both: it translates the reference's sources."""

    calls = "translate"
    does = "translates images"

    def translations(self, inputs: MetricInputs) -> Tensor:
        """The results uint8 (n, c, h, w) for the reference's sources, in order, on the CPU."""
        dataset, model = inputs.real.dataset, inputs.model
        assert model is not None
        source = dataset.columns["source"]
        sources = replace(dataset, images=source, modality=Images(*source.shape[1:]))
        made = inputs.shared("translations", lambda: model.apply(self.calls, sources))
        return dataset.modality.from_network(made)


class TargetDistance(Translation):
    """Mean absolute difference between translations and their targets."""

    better = "lower"
    range = "0 to 1"

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Refuse sources that have no target."""
        if UNPAIRED in dataset.columns:
            return f"the sources of '{dataset.name}' are not paired with its images"
        return super().obstacle_in_model(objective, dataset)

    def _distances(self, inputs: MetricInputs) -> Tensor:
        difference = self.translations(inputs).double() - inputs.real.dataset.images.double()
        return difference.abs().flatten(1).mean(1) / 255

    def compute(self, inputs: MetricInputs) -> float:
        return float(self._distances(inputs).mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        """The normal interval of a mean over pictures."""
        distances = self._distances(inputs)
        error = 1.96 * float(distances.std()) / math.sqrt(len(distances))
        return max(0.0, value - error), min(1.0, value + error)


class KeptClass(Translation):
    """The share of translations in the class of their source, according to the extractor."""

    better = "higher"
    range = "0 to 1"
    scale = "share"
    needs_features = needs_logits = True

    def obstacle(self, extractor: Extractor | None, dataset: Dataset) -> str | None:
        """Refuse a classifier of other classes."""
        if extractor is not None and extractor.classes and extractor.classes != len(dataset.classes):
            return f"its extractor's classes are not those of '{dataset.name}'"
        return super().obstacle(extractor, dataset)

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Refuse sources without classes."""
        if _classes(dataset) is None:
            return f"the sources of '{dataset.name}' have no labels"
        return super().obstacle_in_model(objective, dataset)

    def compute(self, inputs: MetricInputs) -> float:
        assert inputs.see is not None
        wanted = _classes(inputs.real.dataset)
        assert wanted is not None
        return float((inputs.see(self.translations(inputs)).class_logits.argmax(1) == wanted).double().mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        """Wilson's interval for the share."""
        n = len(inputs.real.dataset)
        return share_interval(round(value * n), n)


def _classes(dataset: Dataset) -> Tensor | None:
    return dataset.columns.get("source_label") if UNPAIRED in dataset.columns else dataset.labels


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    register("target-distance", TargetDistance, summary="Mean absolute difference from the target", paper=PAPER)
    register("kept-class", KeptClass, summary="Share of translations in the class of their source", paper=PAPER)
