"""How much samples differ from one another, compared with as many real images: this reveals a collapsed generator."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset
from ganzoo.api.metric import Extractor, Features
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import assigned

SAMPLES = 500
"""Images to measure variety on: enough for 3% precision, few enough for half a second."""


class VarietyWatch:
    """Measures how much samples differ from one another, and as many training images in the same features.

    They are compared in the features of the first extractor that is a classifier; if none is, in those of the first
    extractor; without any extractor, pixel by pixel.

    Args:
        extractors: By name, on ``device``, in evaluation mode.
        dataset: The training images.
        device: The device of the extractors.
    """

    def __init__(self, extractors: Mapping[str, Extractor], dataset: Dataset, device: torch.device) -> None:
        classifiers = [name for name, extractor in extractors.items() if extractor.classes]
        self.name = next(iter([*classifiers, *extractors]), "pixels")
        self._extractor = extractors.get(self.name)
        self._device = device
        chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(0))[:SAMPLES]
        self._real = self._features(dataset.images[chosen])

    def measure(self, images: Tensor) -> dict[str, dict[str, float]]:
        """The variety of samples and of as many real images.

        Args:
            images: Samples (n, *shape) in the same form, n at least 2; only the first ``SAMPLES`` are used.

        Returns:
            ``{"variety": ..., "real_variety": ...}``, each as returned by ``variety``.
        """
        fake = self._features(images[:SAMPLES])
        n = min(len(fake.values), len(self._real.values))
        first = torch.arange(n)
        return {"variety": variety(fake[first]), "real_variety": variety(self._real[first])}

    def _features(self, images: Tensor) -> Features:
        if self._extractor is None:
            return Features(images.flatten(1).float() / 255)
        return extract(self.name, self._extractor, images, self._device)


def variety(features: Features) -> dict[str, float]:
    """How much images differ from one another.

    Args:
        features: The features of n images, n at least 2.

    Returns:
        ``samples``: n. ``distance``: mean distance between two images, at least 0. ``nearest``: median distance from an
        image to the nearest other, at least 0; it detects copies within a class, which the mean does not. ``classes``,
        if the extractor is a classifier and assigns at least half of the images to classes: the exponential of these
        classes' entropy, between 1 (a single class) and the number of classes (all equally frequent).
    """
    # Not with matrix products, which lose precision for the small distances that reveal a collapse.
    distances = torch.cdist(features.values, features.values, compute_mode="donot_use_mm_for_euclid_dist")
    n = len(distances)
    nearest = distances.clone().fill_diagonal_(math.inf).amin(1).median()
    measured = {"samples": n, "distance": (distances.sum() / (n * (n - 1))).item(), "nearest": nearest.item()}
    classes = torch.empty(0) if features.logits is None else assigned(features.logits)
    if 2 * len(classes) >= n:
        share = classes.bincount().double() / len(classes)
        measured["classes"] = torch.special.entr(share).sum().exp().item()
    return measured
