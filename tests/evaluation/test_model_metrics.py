"""Metrics of the trained model itself: how they are requested, what they receive, and which models are refused."""

import pytest
import torch
from torch import nn

from ganzoo import AdversarialGame, Dataset, GanzooError, GaussianPrior, ModelMetric, Objective, Spec, TrainedModel
from ganzoo.errors import Diverged
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.metrics import frechet_distance
from ganzoo.evaluation.protocol import describe, identity
from ganzoo.evaluation.requests import parse_metrics
from ganzoo.registry.registry import Entry
from ganzoo_plugins.losses.hinge import Hinge

CPU = torch.device("cpu")


class Darker(Objective):
    """Returns images a little darker, and guesses each image's label."""

    def __init__(self, by: float = 0.0):
        super().__init__()
        self.by = by

    def phases(self):
        return []

    def reconstruct(self, networks, images, label):
        assert not networks["generator"].training
        return images - self.by

    def guess(self, networks, images, label):
        return label


class Guesses(ModelMetric):
    """Mean guess."""

    better = "neither"
    range = "any number"
    calls = "guess"
    does = "guesses"
    needs_classes = True

    def compute(self, inputs):
        return float(inputs.model.apply("guess", inputs.real.dataset).double().mean())


@pytest.fixture
def zoo(toy_zoo):
    toy_zoo.metrics.add(Entry("metric", "guesses", Guesses, "Mean guess", None, "somebody-s", "guesses 1.2"))
    return toy_zoo


def model(objective):
    objective.bind(Spec((1, 8, 8), GaussianPrior(dim=2)), {})
    return TrainedModel(objective, {"generator": nn.Dropout()}, CPU, batch_size=70)


def evaluator(zoo, metrics, objective=None):
    return Evaluator(metrics, zoo.datasets.get("toy"), {}, None, zoo, CPU, objective=objective)


def test_a_metric_without_features_is_requested_by_its_name_alone(zoo):
    requests = parse_metrics(["guesses", "reconstruction-fid@tiny"], zoo)
    assert [(one.name, one.extractor) for one in requests] == [("guesses", ""), ("reconstruction-fid@tiny", "tiny")]
    with pytest.raises(GanzooError, match=r"'guesses' needs no extractor \(in 'guesses@tiny'\).*Write guesses"):
        parse_metrics(["guesses@tiny"], zoo)
    with pytest.raises(GanzooError, match="does not name an extractor"):
        parse_metrics(["reconstruction-fid"], zoo)
    assert "guesses" not in {one.entry.name for one in parse_metrics(["all@tiny"], zoo)}


def test_a_metric_without_features_sees_every_reference_image_and_its_label(zoo, noise):
    found = evaluator(zoo, ["guesses"], Darker())
    (score,) = found.score(noise(40), model=model(Darker()), weights="ema", sample_seed=3)
    assert (score.value, score.floor, score.sd, score.interval) == (1.5, None, None, None)
    assert score.protocol == {
        "metric": "guesses",
        "plugin": "guesses 1.2",
        "dataset": "toy",
        "dataset_options": {"shift": 0},
        "split": "test",
        "reference_digest": score.protocol["reference_digest"],
        "n_real": 600,
        "quantised": "uint8",
        "weights": "ema",
    }
    assert score.record()["floor"] is None
    assert describe(score.protocol) == "600 toy test images"
    assert identity(found.protocol(found.requests[0], 40, 3, "ema")) == identity(score.protocol)


def test_exact_reconstructions_are_at_distance_zero_and_others_at_theirs(zoo, noise):
    request = ["reconstruction-fid@tiny"]
    (copies,) = evaluator(zoo, request, Darker()).score(noise(40), model=model(Darker()))
    assert copies.value == pytest.approx(0, abs=1e-6)
    darker = Darker(0.25)
    found = evaluator(zoo, request, darker)
    (score,) = found.score(noise(40), model=model(darker))
    real = found.real("tiny")
    images = real.dataset.images.float().sub(0.25 * 127.5).round().clamp(0, 255).to(torch.uint8)
    assert score.value == pytest.approx(frechet_distance(real.see(images).statistics, real.features.statistics))
    assert score.value > 1e-3
    assert "n_fake" not in score.protocol
    assert describe(score.protocol).startswith("600 toy test images, tiny ")


def test_samples_and_the_model_are_scored_side_by_side_and_networks_return_to_training_mode(zoo, noise):
    trained = model(Darker())
    trained.networks["generator"].train()
    scores = evaluator(zoo, ["fid@tiny", "reconstruction-fid@tiny"], Darker()).score(noise(40), model=trained)
    assert [score.metric for score in scores] == ["fid@tiny", "reconstruction-fid@tiny"]
    assert scores[0].floor is not None
    assert trained.networks["generator"].training


def test_an_unsuitable_loss_and_images_without_a_model_are_refused(zoo):
    with pytest.raises(GanzooError, match=r"'guesses' cannot be computed: it needs a loss that guesses\."):
        evaluator(zoo, ["guesses"], AdversarialGame(Hinge()))
    with pytest.raises(GanzooError, match=r"'reconstruction-fid@tiny'.*measures a trained model, not images"):
        evaluator(zoo, ["reconstruction-fid@tiny"])
    every = [request.entry.name for request in evaluator(zoo, ["all@tiny"]).requests]
    assert "reconstruction-fid" not in every
    assert "fid" in every
    assert "reconstruction-fid" in [one.entry.name for one in evaluator(zoo, ["all@tiny"], Darker()).requests]


def test_measuring_what_a_model_gets_as_its_input_is_refused(zoo):
    class Found(Guesses):
        needs_unconditional = True

    zoo.metrics.add(Entry("metric", "found", Found, "Mean guess", None, "somebody-s", "guesses 1.2"))
    told, untold = Darker(), Darker()
    told.bind(Spec((1, 8, 8), GaussianPrior(dim=2), classes=4), {})
    untold.bind(Spec((1, 8, 8), GaussianPrior(dim=2)), {})
    assert [one.name for one in evaluator(zoo, ["found"], untold).requests] == ["found"]
    assert [one.name for one in evaluator(zoo, ["guesses"], told).requests] == ["guesses"]
    with pytest.raises(GanzooError, match=r"'found' cannot be computed: its encoder receives the labels\."):
        evaluator(zoo, ["found"], told)


class Odd(Darker):
    """Methods that look at a whole batch, draw at random, and overflow."""

    def centre(self, networks, images, label):
        assert len(images) > 40, "batches are of one size"
        return images - images.mean(0)

    def blur(self, networks, images, label):
        return images + torch.randn_like(images)

    def overflow(self, networks, images, label):
        return images.exp().mul(1e38).square()


def test_the_order_of_the_images_changes_nothing_and_no_batch_is_small(noise):
    trained, images = model(Odd()), noise(141)
    shuffled = torch.randperm(141)
    found = trained.apply("centre", Dataset("toy", "test", images))
    assert torch.equal(trained.apply("centre", Dataset("toy", "test", images[shuffled])), found[shuffled])
    by_class = Dataset("toy", "test", torch.cat([torch.zeros_like(images), torch.full_like(images, 255)]))
    assert trained.apply("centre", by_class).abs().amin() > 0.5, "each batch has images of both halves"


def test_a_model_s_random_numbers_are_seeded_and_disturb_nothing(noise):
    trained, images = model(Odd()), Dataset("toy", "test", noise(141))
    before = torch.get_rng_state()
    assert torch.equal(trained.apply("blur", images), trained.apply("blur", images))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_model_that_returns_no_numbers_has_diverged(noise):
    with pytest.raises(Diverged, match=r"The model's 'overflow' returns NaN or infinite values\. Its training"):
        model(Odd()).apply("overflow", Dataset("toy", "test", noise(141)))
