"""The extractors of digits: files, refusals, features against direct computations, and the trainings they come from."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from scipy.linalg import eigh, sqrtm
from scipy.signal import correlate2d
from torch.nn.functional import conv2d

import ganzoo_plugins.extractors.mnist_ae_training as training
from ganzoo import Extractor, GanzooError
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import frechet_distance
from ganzoo.evaluation.requests import find_extractor
from ganzoo.registry.loading import Zoo
from ganzoo_checks import contract
from ganzoo_plugins.extractors import mnist_ae, mnist_cnn
from ganzoo_plugins.extractors.mnist_ae import FashionMnistAe, MnistAe, features
from ganzoo_plugins.extractors.mnist_ae_training import MEAN_WEIGHT, directions, main, moved
from ganzoo_plugins.extractors.mnist_cnn import MnistCnn
from ganzoo_plugins.extractors.mnist_cnn_training import accuracy, distort, folded, normalised, train

CPU = torch.device("cpu")
FOLDER = Path(mnist_ae.__file__).parent
WEIGHTS = {
    MnistAe: FOLDER / MnistAe.weights,
    FashionMnistAe: FOLDER / FashionMnistAe.weights,
    MnistCnn: mnist_cnn.WEIGHTS,
}
each = pytest.mark.parametrize("kind", WEIGHTS)


@pytest.mark.parametrize("name", ["mnist-ae", "fashion-mnist-ae", "mnist-cnn"])
def test_they_pass_the_checks_for_extractors(name: str, zoo: Zoo) -> None:
    contract.features(zoo.extractors.get(name), zoo)


@each
def test_the_digest_is_that_of_the_small_file(kind: type[Extractor]) -> None:
    content = WEIGHTS[kind].read_bytes()
    assert len(content) < 2_000_000
    digest = kind().digest
    assert digest == sha256(content).hexdigest()
    assert kind is MnistCnn or WEIGHTS[kind].name == f"{kind.name}-{digest[:12]}.safetensors"


@each
@pytest.mark.parametrize("damage", ["missing", "truncated", "other network"])
def test_a_damaged_file_is_one_sentence(tmp_path: Path, kind: type[Extractor], damage: str) -> None:
    path = tmp_path / "weights.safetensors"
    if damage == "truncated":
        path.write_bytes(WEIGHTS[kind].read_bytes()[:1000])
    elif damage == "other network":
        path.write_bytes(save({"encoder.first.weight": torch.zeros(2)}))
    with pytest.raises(GanzooError, match=r"weights\.safetensors cannot be read"):
        kind(path)


@each
@pytest.mark.parametrize("shape", [(2, 1, 32, 32), (2, 3, 28, 28), (1, 28, 28)], ids=str)
def test_anything_but_digits_is_refused(kind: type[Extractor], shape: tuple[int, ...]) -> None:
    with pytest.raises(GanzooError, match="never resamples"):
        kind()(torch.zeros(shape, dtype=torch.uint8))
    with pytest.raises(GanzooError, match="never resamples"):
        kind()(torch.zeros(2, 1, 28, 28))


@pytest.fixture(scope="module")
def judge():
    return MnistAe()


class TestAutoencoder:
    def test_features_are_what_a_direct_loop_computes(self, judge, digits):
        image = digits["test"].images[3:4]
        values = {name: value.double().numpy() for name, value in load((FOLDER / MnistAe.weights).read_bytes()).items()}
        layer = np.clip((image[0].double().numpy() - 16) / 224, 0, 1)
        greys = [np.clip(1 - np.abs(layer * 16 - grey), 0, None).mean() for grey in range(1, 17)]
        pooled = []
        for name, padding in (("first", 2), ("second", 1)):
            weight, bias = values[f"encoder.{name}.weight"], values[f"encoder.{name}.bias"]
            padded = np.pad(layer, ((0, 0), (padding, padding), (padding, padding)))
            planes = [
                sum(correlate2d(plane, kernel, "valid") for plane, kernel in zip(padded, kernels, strict=True)) + offset
                for kernels, offset in zip(weight, bias, strict=True)
            ]
            layer = np.clip(np.stack(planes)[:, ::2, ::2], 0, None)
            pooled += [*layer.mean((1, 2)), *np.square(layer).mean((1, 2))]
        last = values["encoder.last.weight"] @ layer.ravel() + values["encoder.last.bias"]
        found, logits = judge(image)
        assert logits is None
        np.testing.assert_allclose(found[0].numpy(), [*last, *pooled, *greys], rtol=1e-4, atol=1e-5)

    def test_values_below_16_and_above_240_do_not_matter(self, judge, digits):
        images = digits["test"].images[:50]
        changed = images.masked_fill(images < 16, 0).masked_fill(images > 240, 255)
        assert (changed != images).any()
        assert torch.equal(judge(changed)[0], judge(images)[0])


class TestDistance:
    def test_it_is_scipys_in_the_projected_coordinates(self, judge, digits):
        sets = [extract("mnist-ae", judge, digits[split].images[:1500], CPU) for split in ("train", "test")]
        ours = frechet_distance(sets[0].statistics, sets[1].statistics)
        matrix = judge.projection.double().numpy()
        a, b = (one.values.double().numpy() @ matrix for one in sets)
        spread = [np.cov(one, rowvar=False) for one in (a, b)]
        root = sqrtm(spread[0] @ spread[1]).real
        theirs = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(spread[0] + spread[1] - 2 * root)
        assert ours == pytest.approx(theirs, rel=1e-6)
        assert frechet_distance(sets[0].statistics, sets[0].statistics) == pytest.approx(0, abs=1e-8)

    def test_neighbours_see_features_as_they_are(self, judge, digits):
        found = extract("mnist-ae", judge, digits["test"].images[:20], CPU)
        assert torch.equal(found.values, judge(digits["test"].images[:20])[0])
        assert found.projected.shape == (20, mnist_ae.DIRECTIONS)
        assert torch.equal(found[torch.tensor([1, 3])].projected, found.projected[[1, 3]])


@pytest.mark.full
class TestFitting:
    def test_it_learns_without_labels_and_two_fits_give_the_same_file(self, digits):
        images, reports = digits["train"].images[:4000], []
        first = training.train(images, epochs=2, seed=1, report=reports.append)
        torch.manual_seed(5)
        assert training.train(images, epochs=2, seed=1, report=reports.append) == first
        assert reports[:2] == reports[2:]
        errors = [float(report.rsplit(" ", 1)[1]) for report in reports[:2]]
        assert errors[1] < 0.8 * errors[0]
        assert training.train(images, epochs=2, seed=2, report=lambda _: None) != first

    def test_the_projection_solves_its_equation(self, judge, digits):
        """Against scipy's generalised eigenvalues, from the docstring's formula."""
        images = digits["train"].images[:3000]
        real = features(judge.encoder, images).double()
        noise = 2 * torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
        changes = [moved(images.float(), x, y) for x, y in ((0.1, 0), (-0.1, 0), (0, 0.1), (0, -0.1))] + [
            images + noise
        ]
        covariance = np.cov(real.numpy(), rowvar=False)
        ridge = 1e-7 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        nuisance, means = np.zeros_like(covariance), []
        for changed in changes:
            d = (features(judge.encoder, changed.round().clamp(0, 255)).double() - real).numpy()
            means.append(d.mean(0))
            common = (real.numpy() - real.numpy().mean(0)).T @ (d - d.mean(0)) / len(d)
            nuisance += (
                3000 * np.outer(d.mean(0), d.mean(0)) + 1000 * common.T @ np.linalg.inv(covariance + ridge) @ common
            )
        largest = eigh(covariance, covariance + nuisance + ridge, eigvals_only=True)[::-1][: mnist_ae.DIRECTIONS]
        found = directions(judge.encoder, images).double().numpy()
        whole = found.T @ (covariance + nuisance + ridge) @ found
        np.testing.assert_allclose(whole, np.eye(mnist_ae.DIRECTIONS), atol=1e-3)
        np.testing.assert_allclose(np.diag(found.T @ covariance @ found), largest, atol=1e-3)
        assert all(np.square(mean @ found).sum() <= 1.01 / MEAN_WEIGHT for mean in means)

    def test_moved_by_a_whole_pixel_is_exact(self):
        images = torch.rand(3, 1, 28, 28) * 255
        torch.testing.assert_close(moved(images, 1, 0)[..., 2:-2, 3:-2], images[..., 2:-2, 2:-3], rtol=1e-3, atol=0.05)

    def test_the_command_writes_a_file_named_after_its_digest(self, tmp_path, monkeypatch, digits, capsys):
        monkeypatch.setitem(training.DATASETS, "mnist", lambda split, folder: digits["train"])
        monkeypatch.setattr(training, "VALIDATION", 59_000)
        main(["--out", str(tmp_path), "--epochs", "1"])
        (path,) = tmp_path.iterdir()
        digest = sha256(path.read_bytes()).hexdigest()
        assert path.name == f"mnist-ae-{digest[:12]}.safetensors"
        assert digest in capsys.readouterr().out
        assert MnistAe(path).digest == digest


@pytest.fixture(scope="module")
def cnn():
    return MnistCnn()


@pytest.fixture(scope="module")
def digits(mnist, mnist_test):
    return {"train": mnist, "test": mnist_test}


class TestWeights:
    def test_at_least_995_of_1000_test_digits_are_told(self, cnn, digits):
        assert accuracy(cnn, digits["test"].images[:4000], digits["test"].labels[:4000]) >= 0.995


class TestClassifier:
    def test_logits_are_those_of_the_head_on_rectified_features(self, cnn, digits):
        features, logits = cnn(digits["test"].images[:7])
        assert features.min() >= 0
        assert not features.requires_grad
        torch.testing.assert_close(cnn.head(features), logits)

    def test_the_same_bits_in_training_mode_and_inside_a_bf16_training(self, cnn, digits):
        images = digits["test"].images[:200]
        features, logits = cnn(images)
        assert torch.equal(MnistCnn().train()(images)[0], features)
        with torch.autocast("cpu", torch.bfloat16):
            again, same = cnn(images)
        assert torch.equal(again, features)
        assert torch.equal(same, logits)


class TestSensitivity:
    """The features tell worse pictures from good ones, and train digits hardly from test digits."""

    def test_distances_are_in_order_of_what_was_done_to_the_digits(self, cnn, digits):
        test = digits["test"].images[:2000]
        generator = torch.Generator().manual_seed(0)
        hit = torch.rand(test.shape, generator=generator) < 0.05
        noise = torch.randint(256, test.shape, generator=generator, dtype=torch.uint8)
        kernel = torch.outer(*[torch.exp(-(torch.arange(-3, 4) ** 2) / 2)] * 2).view(1, 1, 7, 7)
        blurred = conv2d(test.float(), kernel / kernel.sum(), padding=3).round().to(torch.uint8)
        made = (test, digits["train"].images[:2000], blurred, torch.where(hit, noise, test), noise)
        real, *others = (extract("mnist-cnn", cnn, images, CPU).statistics for images in made)
        floor, soft, speckled, nonsense = (frechet_distance(one, real) for one in others)
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
