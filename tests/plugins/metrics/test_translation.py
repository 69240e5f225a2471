"""Distances to targets and kept classes, by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from ganzoo import Dataset, Features, MetricInputs, TrainedModel
from ganzoo_plugins.metrics.translation import KeptClass, TargetDistance
from ganzoo_plugins.objectives.pix2pix import Pix2Pix

SOURCES = torch.tensor([0, 100, 200, 250], dtype=torch.uint8)


class Darker(Pix2Pix):
    """Translates to 51 levels less, at least black."""

    def translate(self, networks: object, images: Tensor, label: Tensor) -> Tensor:
        return images - 0.4


def dataset(**columns: Tensor) -> Dataset:
    """Targets that are 20 levels below their sources, but for the first, and classes by brightness."""
    images = torch.tensor([0, 80, 180, 230], dtype=torch.uint8).view(4, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    source = SOURCES.view(4, 1, 1, 1).expand(-1, 1, 2, 2).contiguous()
    return Dataset(
        "mnist", "test", images, torch.tensor([0, 1, 1, 1]), ("dark", "light"), {"source": source, **columns}
    )


def inputs(real: Dataset) -> MetricInputs:
    """What a metric gets from an extractor that calls a picture light from a level of 100."""

    def see(images: Tensor) -> Features:
        level = images.flatten(1).float().mean(1)
        return Features(level[:, None], torch.stack([100 - level, level - 99], 1))

    model = TrainedModel(Darker(), {}, torch.device("cpu"), batch_size=3)
    return MetricInputs(4, lambda: None, None, SimpleNamespace(dataset=real), lambda: None, model=model, see=see)


def test_the_distance_is_the_mean_difference_from_each_source_s_own_target() -> None:
    """The results are 0, 49, 149 and 199, so the differences are 0, 31, 31 and 31 levels."""
    metric, given = TargetDistance(), inputs(dataset())
    value = metric.compute(given)
    assert value == pytest.approx(3 * 31 / 4 / 255)
    low, high = metric.interval(given, value)
    assert high - value == pytest.approx(value - low) == pytest.approx(1.96 * 15.5 / 255 / 2)


def test_a_class_is_kept_if_the_classifier_finds_it_in_the_result() -> None:
    """The results are dark, dark, light and light."""
    assert KeptClass().compute(inputs(dataset())) == 0.75
    unpaired = torch.ones(4, dtype=torch.bool)
    of_sources = dataset(unpaired=unpaired, source_label=torch.tensor([0, 0, 0, 1]))
    assert KeptClass().compute(inputs(of_sources)) == 0.75
    low, high = KeptClass().interval(inputs(dataset()), 0.75)
    assert 0.2 < low < 0.75 < high < 1


def test_unpaired_sources_have_no_target_and_perhaps_no_class() -> None:
    unpaired = dataset(unpaired=torch.ones(4, dtype=torch.bool))
    assert "not paired" in TargetDistance().obstacle_in_model(Darker(), unpaired)
    assert "have no labels" in KeptClass().obstacle_in_model(Darker(), unpaired)
    for metric in (TargetDistance(), KeptClass()):
        assert metric.obstacle_in_model(Darker(), dataset()) is None
        assert metric.obstacle_in_model(SimpleNamespace(), dataset()) == "it needs a loss that translates images"
    classifier = SimpleNamespace(classes=10, rejects=False)
    assert "classes are not those" in KeptClass().obstacle(classifier, dataset())
    assert "not a classifier" in KeptClass().obstacle(SimpleNamespace(classes=0, rejects=False), dataset())
