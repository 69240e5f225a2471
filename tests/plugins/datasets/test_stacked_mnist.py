"""Stacked MNIST: how it is made, how its modes are read, and what real and collapsed images score."""

from math import log

import pytest
import torch

from ganzoo import GanzooError
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.metrics import class_counts, kl_to_uniform, modes_found
from ganzoo_plugins.datasets.stacked_mnist import StackedMnistCnn, stacked_mnist
from ganzoo_plugins.extractors.mnist_cnn import MnistCnn

SMALL = {"train_images": 3000, "test_images": 600}


@pytest.fixture(scope="module")
def stacked():
    return stacked_mnist("test", None, **SMALL)


@pytest.fixture(scope="module")
def extractor():
    return StackedMnistCnn()


@pytest.fixture(scope="module")
def digit_images(mnist_test):
    """The image of each digit that the classifier is surest of."""
    images = mnist_test.images[:2000]
    surest = MnistCnn()(images)[1].softmax(1).argmax(0)
    assert mnist_test.labels[surest].tolist() == list(range(10))
    return images[surest, 0]


def every_combination(digits):
    """1,000 images (3, 28, 28), of 000 to 999 in order."""
    numbers = torch.cartesian_prod(*[torch.arange(10)] * 3)
    return digits[numbers]


def test_as_many_images_as_in_the_experiments_of_the_papers(zoo):
    assert zoo.datasets.get("stacked-mnist").options.defaults == {"train_images": 128_000, "test_images": 26_000}


@pytest.mark.parametrize(("split", "count"), [("train", 3000), ("test", 600)])
def test_every_channel_is_a_digit_of_its_own_split_with_the_label_it_stands_for(split, count, zoo):
    dataset = stacked_mnist(split, None, **SMALL)
    digits = zoo.datasets.get("mnist").create(split, None)
    labels_of = {image.numpy().tobytes(): int(label) for image, label in zip(digits.images, digits.labels, strict=True)}
    assert len(dataset) == count
    assert dataset.shape == (3, 28, 28)
    assert dataset.classes[42] == "042"
    for image, label in zip(dataset.images[:100], dataset.labels[:100], strict=True):
        red, green, blue = (labels_of[channel.numpy().tobytes()] for channel in image)
        assert int(label) == 100 * red + 10 * green + blue


def test_channels_are_drawn_independently(stacked):
    red, green, blue = (stacked.images[:, channel].flatten(1) for channel in range(3))
    assert (red != green).any(1).float().mean() > 0.99
    assert (green != blue).any(1).float().mean() > 0.99


def test_it_is_always_the_same_and_the_splits_are_not(stacked):
    again = stacked_mnist("test", None, **SMALL)
    train = stacked_mnist("train", None, train_images=600)
    assert torch.equal(again.images, stacked.images)
    assert not torch.equal(train.labels, stacked.labels)


def test_features_are_the_classifiers_channel_by_channel(stacked, extractor):
    features, logits = extractor(stacked.images[:20])
    parts = [MnistCnn()(stacked.images[:20, channel : channel + 1]) for channel in range(3)]
    torch.testing.assert_close(features, torch.cat([part for part, _ in parts], 1))
    chances = [part.softmax(1) for _, part in parts]
    torch.testing.assert_close(logits.exp().sum(1), torch.ones(20))
    for mode in (0, 7, 150, 999):
        expected = chances[0][:, mode // 100] * chances[1][:, mode // 10 % 10] * chances[2][:, mode % 10]
        torch.testing.assert_close(logits[:, mode].exp(), expected)


def test_each_combination_once_is_ideal(digit_images, extractor):
    _, logits = extractor(every_combination(digit_images))
    assert logits.argmax(1).tolist() == list(range(1000))
    assert modes_found(class_counts(logits)) == 1000
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(0, abs=1e-12)


def test_the_judge_sees_the_difference_between_real_images_and_a_collapse(zoo, stacked):
    metrics = ["modes@stacked-mnist-cnn", "kl@stacked-mnist-cnn"]
    evaluator = Evaluator(metrics, zoo.datasets.get("stacked-mnist"), SMALL, None, zoo, torch.device("cpu"))
    real_modes, real_kl = evaluator.score(stacked.images)
    lost_modes, lost_kl = evaluator.score(stacked.images[:1].repeat(600, 1, 1, 1))
    # 600 draws from 1,000 modes hit about 1,000 (1 - exp(-0.6)) = 451 of them.
    assert real_modes.value == pytest.approx(451, abs=40)
    assert real_modes.floor == pytest.approx(real_modes.value, abs=40)
    assert real_kl.value == pytest.approx(real_kl.floor, abs=0.1)
    assert lost_modes.value == 1
    assert lost_kl.value == pytest.approx(log(1000))


@pytest.mark.full
def test_the_truth_finds_every_mode(zoo, extractor):
    """What generators are compared with: 26,000 real images."""
    dataset = zoo.datasets.get("stacked-mnist").create("test", None)
    with torch.no_grad():
        logits = torch.cat([extractor(images)[1] for images in dataset.images.split(500)])
    assert modes_found(class_counts(logits)) == 1000
    assert kl_to_uniform(class_counts(logits)) == pytest.approx(0.02, abs=0.01)


def test_grey_images_are_refused(extractor):
    """Three of them have as many channels as one image of three."""
    with pytest.raises(GanzooError, match="3x1x28x28"):
        extractor(torch.zeros(3, 1, 28, 28, dtype=torch.uint8))


def test_metrics_that_look_at_samples_alone_do_not_wait_for_the_reference(zoo, tmp_path, monkeypatch):
    """Reading 26,000 reference images takes half a minute, and 144 MB of the cache."""
    monkeypatch.setenv("GANZOO_CACHE", str(tmp_path))
    entry = zoo.datasets.get("stacked-mnist")
    for metric, files in [("modes", 0), ("fid", 1)]:
        Evaluator([f"{metric}@stacked-mnist-cnn"], entry, SMALL, None, zoo, torch.device("cpu")).prepare()
        assert len(list(tmp_path.glob("references/features-*"))) == files
