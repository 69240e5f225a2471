"""The commands that profile a step and measure flatness, on runs that are too short to measure anything."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import flatness
from ganzoo.config.loading import load_recipe
from ganzoo.training.health import STEP, kind_of, shares_of_a_step
from ganzoo.training.trainer import Trainer


@pytest.mark.parametrize(
    ("operator", "kind"),
    [
        ("aten::addmm", "matrix products"),
        ("aten::mkldnn_convolution", "convolutions"),
        ("aten::convolution_backward", "convolutions"),
        ("aten::_fused_adam_", "optimizer and moving average"),
        ("aten::lerp_", "optimizer and moving average"),
        ("aten::native_batch_norm_backward", "normalisation"),
        ("aten::leaky_relu_backward", "activations and loss"),
        ("aten::index_select", "images, latents and random numbers"),
        ("aten::copy_", "copies and number formats"),
        (STEP, "Python between operators"),
        ("aten::sum", "other"),
    ],
)
def test_operators_are_known_by_what_they_are_for(operator, kind):
    assert kind_of(operator) == kind


@pytest.fixture
def recipe(zoo):
    small = ["networks.generator.hidden=[16]", "networks.discriminator.hidden=[8]", "train.device=cpu"]
    return load_recipe("vanilla-mnist", zoo, small)


def test_shares_of_a_step_add_up(recipe, zoo, mnist):
    shares = shares_of_a_step(Trainer(recipe, zoo, dataset=mnist), 2)
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["matrix products"] > 0
    assert shares["Python between operators"] > 0
    assert shares["convolutions"] == 0


def test_the_median_costs_of_training_on_the_first_images_are_compared(recipe, zoo, mnist, monkeypatch):
    # Of two warm-ups and three rounds each.
    spent = {1_000: [80.0, 40.0, 9.0, 2.0, 3.0], 10_000: [7.0, 7.0, 2.0, 2.0, 4.0], 60_000: [5.0, 5.0, 6.0, 5.0, 7.0]}
    given = []

    def begin(recipe, zoo, dataset):
        given.append(dataset)
        return SimpleNamespace(images_per_step=64, size=len(dataset.images))

    with monkeypatch.context() as scripted:
        scripted.setattr(flatness, "ROUNDS", 3)
        scripted.setattr(flatness, "Trainer", begin)
        scripted.setattr(flatness, "cost", lambda trainer, steps: spent[trainer.size].pop(0))
        found = flatness.over_sizes(recipe, zoo, mnist)
    assert found == {
        "microseconds_an_image": {1_000: 3.0, 10_000: 2.0, 60_000: 6.0},
        "largest_over_smallest": 3.0,
    }
    assert all(torch.equal(one.images, mnist.images[: len(one.images)]) for one in given)
    pairs = replace(mnist, columns={"source": mnist.images.flip(0)})
    assert torch.equal(flatness.first(pairs, 9).columns["source"], pairs.columns["source"][:9])
    assert flatness.cost(Trainer(recipe, zoo, dataset=given[0]), 1) > 0
    assert flatness.resident_megabytes() > 50
