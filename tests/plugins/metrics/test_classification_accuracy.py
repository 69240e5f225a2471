"""The classification accuracy score: of samples as good as real, mislabelled or missing; and who is refused."""

from __future__ import annotations

import pytest
import torch

import ganzoo
from ganzoo import Dataset, GanzooError
from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.protocol import describe
from ganzoo_plugins.metrics import classification_accuracy

CAS = "classification-accuracy-score"


@pytest.fixture(autouse=True)
def few_steps(monkeypatch):
    """Enough for classes that are easy to tell apart."""
    monkeypatch.setattr(classification_accuracy, "STEPS", 60)


def corners(n: int, seed: int = 0) -> Dataset:
    """Noise of 8x8 pixels with one bright corner, which is its class."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 100, (n, 1, 8, 8), generator=generator, dtype=torch.uint8)
    labels = torch.randint(4, (n,), generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        row, column = divmod(label, 2)
        image[0, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 100
    return Dataset("corners", "test", images, labels, tuple("abcd"))


def score(samples: Dataset, labels: torch.Tensor | None) -> ganzoo.Score:
    (found,) = ganzoo.evaluate(samples.images, dataset=corners(800, seed=1), metrics=CAS, labels=labels)
    return found


def test_samples_as_good_as_real_teach_a_classifier_as_much_in_any_order():
    samples = corners(400)
    first = score(samples, samples.labels)
    assert first.value > 0.95
    assert first.floor > 0.95
    turned = samples.rows(torch.arange(400).flip(0))
    assert score(turned, turned.labels).value == first.value
    assert describe(first.protocol) == "400 against 800 corners test images, uint8, native size"
    assert first.protocol["classifier"] == "two convolutions"


@pytest.mark.parametrize(
    ("spoil", "at_most"),
    [
        (lambda samples: (samples, (samples.labels + 1) % 4), 0.05),
        (lambda samples: (samples.rows(samples.labels.lt(2).nonzero().flatten()),) * 2, 0.6),
    ],
    ids=["wrong classes", "missing classes"],
)
def test_samples_with_wrong_or_missing_classes_teach_less(spoil, at_most):
    samples, labels = spoil(corners(600))
    assert score(samples, getattr(labels, "labels", labels)).value < at_most


def test_what_has_no_classes_or_is_no_image_is_refused_in_a_sentence(zoo):
    with pytest.raises(GanzooError, match=f"scores '{CAS}', which needs conditional: true"):
        load_recipe("vanilla-mnist", zoo, [f"evaluate.metrics=[{CAS}]"])
    with pytest.raises(GanzooError, match=f"The metric '{CAS}' needs no extractor"):
        load_recipe("cgan-mnist", zoo, [f"evaluate.metrics=[{CAS}@mnist-cnn]"])
    samples = corners(400)
    with pytest.raises(GanzooError, match=f"'{CAS}' needs to know which class each image was meant to be"):
        score(samples, None)
    with pytest.raises(GanzooError, match=f"'{CAS}' needs one label from 0 to 3"):
        score(samples, samples.labels + 1)
    unlabelled = Dataset("corners", "test", samples.images, None, ())
    with pytest.raises(GanzooError, match=f"'{CAS}' cannot be computed: 'corners' has no labels"):
        ganzoo.evaluate(samples.images, dataset=unlabelled, metrics=CAS, labels=samples.labels)
    with pytest.raises(GanzooError, match=f"'{CAS}' cannot be computed: its classifier is for images, but 'ring' has"):
        ganzoo.evaluate(torch.randn(400, 1, 2) / 4, dataset="ring", metrics=CAS, labels=torch.zeros(400).long())


def test_a_conditional_run_is_scored_while_it_trains(tmp_path):
    settings = {"train.images": 640, "train.batch_size": 64, "evaluate.samples": 200, "evaluate.metrics": [CAS]}
    run = ganzoo.train(ganzoo.recipe("cgan-mnist", **settings), out=tmp_path / "run")
    found = run.scores[-1]
    assert found["metric"] == CAS
    assert 0 < found["value"] < found["floor"] < 1
