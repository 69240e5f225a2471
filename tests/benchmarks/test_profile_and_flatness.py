"""What profiles a step, measures flatness, scaling and the cost of watching, on runs that are too short to measure."""

import shlex
from types import SimpleNamespace

import pytest
import torch

import flatness
import profile_step
import scaling
from ganzoo.config.loading import load_recipe
from ganzoo.training.step import PhaseStep
from ganzoo.training.trainer import Trainer
from profile_step import STEP, kind_of, shares_of_a_step
from test_health import unwatched


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
        spent[20_000] = [5.0, 5.0, 6.0, 5.0, 7.0]
        spent.update({n: [1.0, 1.0, 1.0, 1.0, 1.0] for n in (1_000, 10_000)})
        few = flatness.over_sizes(recipe, zoo, mnist.rows(torch.arange(20_000)))
    assert list(few["microseconds_an_image"]) == [1_000, 10_000, 20_000]  # and not 60,000
    assert found == {
        "microseconds_an_image": {1_000: 3.0, 10_000: 2.0, 60_000: 6.0},
        "largest_over_smallest": 3.0,
    }
    assert all(torch.equal(one.images, mnist.images[: len(one.images)]) for one in given)
    assert flatness.cost(Trainer(recipe, zoo, dataset=given[0]), 1) > 0
    assert flatness.resident_megabytes() > 50


def test_the_training_that_a_watched_one_is_compared_with_reads_no_gradients(recipe, zoo, mnist, monkeypatch):
    def read(self):
        raise AssertionError("read")

    monkeypatch.setattr(PhaseStep, "gradient_norms", read)
    unwatched(recipe, zoo, mnist, torch.device("cpu")).step()
    with pytest.raises(AssertionError, match="read"):
        Trainer(recipe, zoo, dataset=mnist).step()


def test_the_command_beside_a_profile_can_be_pasted():
    override = "networks.generator.hidden=[16, 8]"
    head = profile_step.markdown({"vanilla-mnist": {"images/s": "1"}}, [override]).splitlines()[0]
    assert shlex.split(head.split("`")[1])[2:] == ["vanilla-mnist", "--set", override]


@pytest.mark.parametrize("script", [flatness, scaling])
def test_an_unknown_recipe_is_a_sentence(script, monkeypatch):
    monkeypatch.setattr("sys.argv", ["script.py", "--recipe", "vanilla-mnits"])
    monkeypatch.delenv("TORCHELASTIC_RUN_ID", raising=False)
    with pytest.raises(SystemExit, match="vanilla-mnits.*vanilla-mnist"):
        script.main()
