"""The classifier of digits, and the training that its weights come from."""

from hashlib import sha256

import pytest
import torch
from safetensors.torch import load, save
from torch.nn.functional import conv2d

from ganzoo.evaluation.requests import find_extractor
from ganzoo_plugins.extractors.mnist_cnn import WEIGHTS, MnistCnn
from ganzoo_plugins.extractors.mnist_cnn_training import accuracy, distort, folded, normalised, train


@pytest.fixture(scope="module")
def cnn():
    return MnistCnn()


@pytest.fixture(scope="module")
def digits(mnist, mnist_test):
    return {"train": mnist, "test": mnist_test}


def moments(cnn, images):
    features = torch.cat([cnn(batch)[0] for batch in images.split(250)]).double()
    return features.mean(0), features.T.cov()


def frechet(one, other):
    """Fréchet distance of two Gaussians, straight from the formula, in float64."""
    (mean, covariance), (other_mean, other_covariance) = one, other
    roots = torch.linalg.eigvals(covariance @ other_covariance).real.clamp(min=0).sqrt()
    spread = covariance.trace() + other_covariance.trace() - 2 * roots.sum()
    return ((mean - other_mean).square().sum() + spread).item()


class TestWeights:
    def test_at_least_995_of_1000_test_digits_are_told(self, cnn, digits):
        assert accuracy(cnn, digits["test"].images[:4000], digits["test"].labels[:4000]) >= 0.995

    def test_the_digest_is_the_files(self, cnn):
        content = WEIGHTS.read_bytes()
        assert cnn.digest == sha256(content).hexdigest()
        assert len(content) < 2_000_000

    def test_another_file_has_another_digest(self, cnn, tmp_path):
        tensors = load(WEIGHTS.read_bytes())
        tensors["head.bias"] = tensors["head.bias"] + 1
        (tmp_path / "other.safetensors").write_bytes(save(tensors))
        assert MnistCnn(tmp_path / "other.safetensors").digest != cnn.digest


class TestForward:
    def test_features_and_logits(self, cnn, digits):
        features, logits = cnn(digits["test"].images[:7])
        assert (features.shape, logits.shape) == ((7, 128), (7, 10))
        assert features.dtype == logits.dtype == torch.float32
        assert features.min() >= 0
        assert not features.requires_grad
        torch.testing.assert_close(cnn.head(features), logits)

    def test_an_image_counts_alone_whatever_its_batch_and_mode(self, cnn, digits):
        images = digits["test"].images[:50]
        together, _ = cnn(images)
        alone = torch.cat([cnn(image[None])[0] for image in images])
        torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
        assert torch.equal(MnistCnn().train()(images)[0], together)

    def test_twice_the_same_bits_also_inside_a_bf16_training(self, cnn, digits):
        images = digits["test"].images[:200]
        features, logits = cnn(images)
        with torch.autocast("cpu", torch.bfloat16):
            again, same = cnn(images)
        assert torch.equal(again, features)
        assert torch.equal(same, logits)


class TestSensitivity:
    """The features tell worse pictures from good ones, and train digits hardly from test digits."""

    def test_distances_are_in_order_of_what_was_done_to_the_digits(self, cnn, digits):
        test = digits["test"].images[:3000]
        generator = torch.Generator().manual_seed(0)
        hit = torch.rand(test.shape, generator=generator) < 0.05
        noise = torch.randint(256, test.shape, generator=generator, dtype=torch.uint8)
        kernel = torch.outer(*[torch.exp(-(torch.arange(-3, 4) ** 2) / 2)] * 2).view(1, 1, 7, 7)
        blurred = conv2d(test.float(), kernel / kernel.sum(), padding=3).round().to(torch.uint8)
        made = (digits["train"].images[:3000], blurred, torch.where(hit, noise, test), noise)
        real = moments(cnn, test)
        floor, soft, speckled, nonsense = (frechet(moments(cnn, images), real) for images in made)
        assert 0 < floor < 0.8
        assert soft > 4 * floor
        assert speckled > 4 * floor
        assert nonsense > 10 * max(soft, speckled)


class TestTraining:
    @pytest.mark.full
    def test_it_learns_and_two_trainings_give_the_same_file(self, digits, tmp_path):
        images, labels = digits["train"].images[:5000], digits["train"].labels[:5000]
        reports = []
        first = train(images, labels, epochs=2, seed=1, report=reports.append)
        torch.manual_seed(5)
        assert train(images, labels, epochs=2, seed=1, report=reports.append) == first
        assert len(reports) == 4
        assert reports[:2] == reports[2:]
        losses = [float(report.rsplit(" ", 1)[1]) for report in reports[:2]]
        assert losses[1] < 0.7 * losses[0]
        (tmp_path / "short.safetensors").write_bytes(first)
        assert MnistCnn(tmp_path / "short.safetensors").digest == sha256(first).hexdigest()

    def test_another_seed_gives_another_file(self, digits):
        images, labels = digits["train"].images[:500], digits["train"].labels[:500]
        files = {train(images, labels, epochs=1, seed=seed, report=lambda _: None) for seed in (1, 2)}
        assert len(files) == 2

    def test_normalisation_is_folded_exactly(self, digits, tmp_path):
        torch.manual_seed(0)
        network = normalised()
        pictures = digits["test"].images[:400]
        for batch in pictures.chunk(4):
            network(batch.float() / 255)
        (tmp_path / "folded.safetensors").write_bytes(save(folded(network)))
        network.eval()
        _, logits = MnistCnn(tmp_path / "folded.safetensors")(pictures)
        torch.testing.assert_close(logits, network(pictures.float() / 255), rtol=1e-4, atol=1e-4)

    def test_distortions_are_small_different_and_seeded(self, digits):
        image = digits["train"].images[:1].expand(64, -1, -1, -1).float() / 255
        moved = distort(image, torch.Generator().manual_seed(0))
        assert moved.shape == image.shape
        assert 0 <= moved.min() <= moved.max() <= 1
        assert len(moved.flatten(1).unique(dim=0)) == 64
        ink = moved.flatten(1).sum(1) / image[0].sum()
        assert 0.6 < ink.min() < ink.max() < 1.6
        assert torch.equal(distort(image, torch.Generator().manual_seed(0)), moved)


def test_making_an_extractor_moves_no_random_numbers_of_a_training(zoo):
    """Other processes than the main one make theirs in the middle of it."""
    before = torch.get_rng_state()
    find_extractor("mnist-cnn", zoo)
    assert torch.equal(torch.get_rng_state(), before)
