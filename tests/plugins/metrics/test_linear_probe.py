"""The linear probe: softmax regression against closed forms, its error on codes that are known, and who is asked."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn.functional import one_hot

import ganzoo
from ganzoo import Dataset, GanzooError, GaussianPrior, MetricInputs, Objective, Spec, TrainedModel, share_interval
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.layers import own_statistics
from ganzoo_plugins.metrics.linear_probe import LinearProbe, softmax_regression


def test_codes_that_name_a_group_predict_the_shares_of_classes_in_it():
    """Of a model with a weight for each group and class, the likeliest are the logarithms of the shares."""
    shares = torch.tensor([[6, 3, 1], [1, 1, 8], [2, 6, 2]])
    pairs = torch.tensor([(group, kind) for group in range(3) for kind in range(3) for _ in range(shares[group, kind])])
    weight, bias = softmax_regression(one_hot(pairs[:, 0]).double(), pairs[:, 1], penalty=0.0)
    assert torch.allclose((weight.T + bias).softmax(1), shares.double() / 10, atol=1e-5)


def test_at_the_minimum_the_gradient_is_zero():
    codes, labels = torch.randn(200, 5, dtype=torch.float64), torch.arange(200) % 4
    weight, bias = softmax_regression(codes, labels, penalty=0.1)
    excess = (codes @ weight.T + bias).softmax(1) - one_hot(labels)
    assert (excess.T @ codes / 200 + 0.1 * weight).abs().max() < 1e-5
    assert excess.mean(0).abs().max() < 1e-5


class Codes(Objective):
    """Codes that are images' brightness in each quarter."""

    def phases(self):
        return []

    def codes(self, networks, images, label):
        return images.flatten(1)


def probe(train, test, labels):
    """The metric's value where an image has four pixels and its code is these."""
    objective = Codes()
    objective.bind(Spec((1, 2, 2), GaussianPrior(dim=2)), {})

    def reference(pixels, split):
        images = pixels.to(torch.uint8).view(-1, 1, 2, 2)
        return SimpleNamespace(dataset=Dataset("toy", split, images, labels[: len(images)], tuple("abcd")))

    model = TrainedModel(objective, {"generator": nn.Identity()}, torch.device("cpu"))
    inputs = MetricInputs(
        2, lambda: None, None, reference(test, "test"), lambda: reference(train, "train"), model=model
    )
    return LinearProbe().compute(inputs), LinearProbe().settings(inputs)


def test_classes_that_a_plane_separates_are_told_apart_and_constant_codes_tell_nothing():
    labels = torch.arange(80) % 4
    bright = 40 * one_hot(labels, 4) + torch.randint(20, (80, 4))
    assert probe(bright, bright[:40], labels) == (
        0.0,
        {"probe": "softmax regression", "penalty": 1e-4, "n_probe": 80},
    )
    # All codes alike: every image gets the class that is most frequent among the training images.
    mostly = torch.tensor([0] * 50 + [1] * 10 + [2] * 10 + [3] * 10)
    value, _ = probe(torch.full((80, 4), 7), torch.full((80, 4), 7), mostly)
    assert value == pytest.approx(30 / 80)


@pytest.mark.parametrize(
    ("recipe", "metric", "change", "obstacle"),
    [
        *(
            ("cluster-gan-mnist", metric, {"conditional": True}, "its encoder receives the labels")
            for metric in ("linear-probe", "clustering-accuracy")
        ),
        ("vq-vae-mnist", "linear-probe", {}, "it needs a loss that encodes images"),
        ("infogan-mnist", "clustering-accuracy", {"prior.categorical": []}, "the prior has no categorical code"),
    ],
)
def test_a_model_without_such_codes_is_refused_before_training(recipe, metric, change, obstacle, tmp_path):
    settings = {**change, "evaluate.metrics": [metric], "dataset.count": 1000}
    with pytest.raises(GanzooError, match=rf"'{metric}' cannot be computed: {obstacle}\."):
        ganzoo.train(ganzoo.recipe(recipe, **settings), out=tmp_path / "run")


def test_training_images_are_not_judged_by_what_was_fitted_to_them():
    objective = Codes()
    objective.bind(Spec((1, 2, 2), GaussianPrior(dim=2)), {})

    def obstacle(split):
        images = Dataset("toy", split, torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.arange(4), tuple("abcd"))
        return LinearProbe().obstacle_in_model(objective, images)

    assert obstacle("train") == "its classifier is fitted to the training images, which are the reference"
    assert obstacle("test") is obstacle("validation") is None


def test_the_probes_interval_is_that_of_a_share():
    images = Dataset("toy", "test", torch.zeros(400, 1, 2, 2, dtype=torch.uint8), None, ())
    low, high = LinearProbe().interval(SimpleNamespace(real=SimpleNamespace(dataset=images)), 0.1)
    assert (low, high) == share_interval(40, 400)


@pytest.mark.parametrize("name", ["aae", "ali", "bigan", "cluster-gan", "infogan", "vae", "vae-gan"])
def test_every_encoder_gives_codes_that_are_not_drawn_and_images_again(zoo, mnist, name):
    recipe = load_recipe(f"{name}-mnist", zoo)
    assembly = assemble(recipe, zoo, mnist.modality, 10, ())
    objective, networks = assembly.objective, {name: one.eval() for name, one in assembly.networks.items()}
    images, label = torch.rand(8, 1, 28, 28) * 2 - 1, torch.zeros(8, dtype=torch.int64)
    first, again = (objective.codes(networks, images, label) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (8, 12 if name == "infogan" else assembly.spec.prior.width)
    needed = {role: networks[role] for role in objective.samples_with}
    if hasattr(objective, "reconstruct"):
        with own_statistics(*[networks["generator"]] * (name not in ("ali", "bigan"))):
            expected = objective.generate(networks, first, label)
        torch.testing.assert_close(objective.reconstruct(needed, images, label), expected)
    assert torch.equal(objective.codes(needed, images, label), first)
