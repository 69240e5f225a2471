"""The extractors that were fitted without labels, and the training that their weights come from."""

from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load
from scipy.linalg import eigh, sqrtm
from scipy.signal import correlate2d

import ganzoo_plugins.extractors.mnist_ae as module
import ganzoo_plugins.extractors.mnist_ae_training as training
from ganzoo import Features
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import frechet_distance
from ganzoo_plugins.extractors.mnist_ae import FashionMnistAe, MnistAe, features
from ganzoo_plugins.extractors.mnist_ae_training import MEAN_WEIGHT, directions, main, moved, train

FOLDER = Path(module.__file__).parent
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def judge():
    return MnistAe()


@pytest.fixture(scope="module")
def digits(mnist, mnist_test):
    return {"train": mnist, "test": mnist_test}


class TestWeights:
    @pytest.mark.parametrize("kind", [MnistAe, FashionMnistAe])
    def test_the_file_is_small_and_named_after_its_digest(self, kind):
        content = (FOLDER / kind.weights).read_bytes()
        assert len(content) < 2_000_000
        assert kind().digest == sha256(content).hexdigest()
        assert kind.weights == f"{kind.name}-{kind().digest[:12]}.safetensors"


class TestForward:
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
        assert found.projected.shape == (20, module.DIRECTIONS)
        assert torch.equal(found[torch.tensor([1, 3])].projected, found.projected[[1, 3]])


@pytest.mark.full
class TestFitting:
    def test_it_learns_without_labels_and_two_fits_give_the_same_file(self, digits):
        images, reports = digits["train"].images[:4000], []
        first = train(images, epochs=2, seed=1, report=reports.append)
        torch.manual_seed(5)
        assert train(images, epochs=2, seed=1, report=reports.append) == first
        assert reports[:2] == reports[2:]
        errors = [float(report.rsplit(" ", 1)[1]) for report in reports[:2]]
        assert errors[1] < 0.8 * errors[0]
        assert train(images, epochs=2, seed=2, report=lambda _: None) != first

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
        largest = eigh(covariance, covariance + nuisance + ridge, eigvals_only=True)[::-1][: module.DIRECTIONS]
        found = directions(judge.encoder, images).double().numpy()
        whole = found.T @ (covariance + nuisance + ridge) @ found
        np.testing.assert_allclose(whole, np.eye(module.DIRECTIONS), atol=1e-3)
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


def test_features_without_a_projection_are_their_own_coordinates():
    values = torch.randn(5, 3)
    assert Features(values).projected is values
