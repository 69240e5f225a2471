"""FLOPs against a perceptron's closed form, worked out layer by layer."""

from dataclasses import replace

import pytest
import torch

from ganzoo.config.loading import load_recipe
from ganzoo_studies.cost import flops_per_image

LATENT, HIDDEN, PIXELS = 100, 16, 784
SMALL = [f"networks.generator.hidden=[{HIDDEN}]", f"networks.discriminator.hidden=[{HIDDEN}]", "train.batch_size=32"]

GENERATOR = 2 * (LATENT * HIDDEN + HIDDEN * PIXELS)
DISCRIMINATOR = 2 * (PIXELS * HIDDEN + HIDDEN)
# On real and fake: the forward pass, and gradients of the weights and the hidden layer; the images need none.
DISCRIMINATOR_TURN = GENERATOR + 2 * (2 * DISCRIMINATOR + 2 * HIDDEN)
# Gradients pass through the whole discriminator, whose weights need none, and the generator down to its first layer.
GENERATOR_TURN = 2 * DISCRIMINATOR + 2 * GENERATOR + 2 * HIDDEN * PIXELS


def counted(zoo, mnist, *overrides, shared="false"):
    settings = [*SMALL, f"train.share_fakes={shared}", *overrides]
    return flops_per_image(load_recipe("vanilla-mnist", zoo, settings), zoo, mnist)


def test_the_cost_of_a_perceptron_is_that_of_its_matrices(zoo, mnist):
    assert counted(zoo, mnist) == DISCRIMINATOR_TURN + GENERATOR_TURN


def test_players_that_share_fakes_save_one_pass_through_the_generator(zoo, mnist):
    assert counted(zoo, mnist, shared="true") == DISCRIMINATOR_TURN + GENERATOR_TURN - GENERATOR


@pytest.mark.parametrize("shared", ["false", "true"])
def test_frozen_layers_get_no_gradients(zoo, mnist, shared):
    """The first layer's output gets none either, since nothing before it needs any."""
    frozen = counted(zoo, mnist, 'train.freeze=["generator.trunk.0.*"]', shared=shared)
    assert counted(zoo, mnist, shared=shared) - frozen == 2 * LATENT * HIDDEN + 2 * HIDDEN * PIXELS


def test_the_cost_per_image_does_not_depend_on_the_batch_size(zoo, mnist):
    assert counted(zoo, mnist, "train.batch_size=7") == pytest.approx(DISCRIMINATOR_TURN + GENERATOR_TURN)


def test_phases_are_weighted_by_how_often_they_run(zoo, mnist):
    # Five batches for the critic are five times as many images.
    critic = counted(zoo, mnist, "phases.discriminator={repeat: 5}")
    assert critic == pytest.approx((5 * DISCRIMINATOR_TURN + GENERATOR_TURN) / 5)
    seldom = counted(zoo, mnist, "phases.generator={every_steps: 4}")
    assert seldom == pytest.approx(DISCRIMINATOR_TURN + GENERATOR_TURN / 4)


def test_phases_are_weighted_by_their_share_of_training(zoo, mnist):
    late = counted(zoo, mnist, "phases.generator={begin: 0.5}")
    assert late == pytest.approx(DISCRIMINATOR_TURN + GENERATOR_TURN / 2)


def test_a_penalty_on_gradients_counts_with_its_second_derivatives_and_a_lazy_one_by_its_share(zoo, mnist):
    every = "regularizers=[{{name: r1, every_steps: {}}}]"
    always, lazy, lazier = (counted(zoo, mnist, every.format(steps)) for steps in (1, 8, 16))
    plain = DISCRIMINATOR_TURN + GENERATOR_TURN
    # Its forward pass, its gradient, and both of their gradients w.r.t. the weights: at least three forward passes.
    assert always - plain > 3 * DISCRIMINATOR
    assert plain < lazy < always
    assert lazy - plain == pytest.approx(2 * (lazier - plain))


def test_an_augmentation_that_counts_multiplies_no_matrices(zoo, mnist):
    assert counted(zoo, mnist, "augmentation=ada") == counted(zoo, mnist)


def test_columns_have_the_types_that_training_gives_them(zoo, mnist, monkeypatch):
    seen = []
    monkeypatch.setattr("ganzoo.training.step.StepGroup.forward_and_backward", lambda self, batch: seen.append(batch))
    words = torch.zeros(len(mnist), 3, dtype=torch.int64)  # an embedding does not accept floats
    counted(zoo, replace(mnist, columns={"words": words, "mask": words.bool(), "source": mnist.images}))
    kinds = {name: (tuple(column.shape), column.dtype) for name, column in seen[0].extra.items()}
    assert kinds == {"words": ((32, 3), torch.int64), "mask": ((32, 3), torch.bool)}
    assert seen[0].source.dtype == seen[0].real.dtype == torch.float32  # a source that is stored like images


def test_random_state_is_unchanged(zoo, mnist):
    before = torch.get_rng_state()
    counted(zoo, mnist)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_translation_is_counted_too(zoo):
    """Twice the channels are four times the work, apart from the layers at the pictures."""

    def _counted(width):
        widths = [f"networks.{role}.width={width}" for role in ("generator", "discriminator")]
        dataset = zoo.datasets.get("edges-to-digits").create("test", None)
        return flops_per_image(load_recipe("pix2pix-edges-to-digits", zoo, widths), zoo, dataset)

    assert 3 < _counted(16) / _counted(8) < 4
