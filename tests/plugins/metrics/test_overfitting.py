"""Overfitting of D: pairs counted by hand, and a real D that learns a few images by heart."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn

import ganzoo
from ganzoo import Dataset, MetricInputs, TrainedModel
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo_plugins.metrics.overfitting import Overfitting


class Brightness(nn.Module):
    def forward(self, images):
        return images.mean((1, 2, 3))


def overfitting(zoo, known, unseen):
    """The value where D's logit is an image's brightness, from the brightness of each image."""
    recipe = load_recipe("vanilla-mnist", zoo)
    assembly = assemble(recipe, zoo, ganzoo.Images(1, 2, 2), 0)

    def reference(levels, split):
        images = torch.tensor(levels, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
        return SimpleNamespace(dataset=Dataset("toy", split, images))

    model = TrainedModel(assembly.objective, {"discriminator": Brightness()}, torch.device("cpu"))
    inputs = MetricInputs(
        2, lambda: None, None, reference(unseen, "test"), lambda: reference(known, "train"), model=model
    )
    return Overfitting().compute(inputs)


def test_pairs_are_counted_and_ties_half(zoo):
    assert overfitting(zoo, [3, 1], [1, 2, 0, 5]) == (3 + 1.5) / 8
    assert overfitting(zoo, [9, 9, 9], [1, 2]) == 1
    assert overfitting(zoo, [4, 4], [4]) == 0.5


def test_a_d_overfits_few_images_and_not_many(zoo, tmp_path):
    def trained(count):
        run = ganzoo.train(
            ganzoo.recipe(
                "vanilla-mnist",
                dataset={"name": "mnist", "count": count},
                train={"images": 12_800, "seed": 0},
                evaluate={"metrics": ["overfitting"], "every_images": None, "samples": 100},
            ),
            out=tmp_path / str(count),
        )
        (value,) = {score["value"] for score in run.scores}
        return value

    assert trained(32) > 0.9
    assert trained(0) == pytest.approx(0.5, abs=0.05)
