"""The commands that say where time goes and whether it stays the same, on lengths that measure nothing."""

import pytest

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


def test_sizes_are_compared_on_the_first_images(recipe, zoo, mnist, monkeypatch):
    monkeypatch.setattr(flatness, "SECONDS", 0.001)
    monkeypatch.setattr(flatness, "ROUNDS", 1)
    found = flatness.over_sizes(recipe, zoo, mnist)
    assert list(found["microseconds_an_image"]) == [1_000, 10_000, 60_000]
    assert found["largest_over_smallest"] >= 1
    assert len(flatness.first(mnist, 1_000).images) == 1_000
    assert flatness.resident_megabytes() > 50
