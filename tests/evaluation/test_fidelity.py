"""The Fréchet distance against an independent computation and closed forms."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.utils.data import Dataset

from ganzoo import Features
from ganzoo.evaluation import metrics
from ganzoo.evaluation.features import extract
from their_extractor import register

CPU = torch.device("cpu")


def reference_distance(fake, real):
    """As the paper writes it, in float64, with scipy's matrix square root."""
    fake, real = fake.double().numpy(), real.double().numpy()
    a, b = np.cov(fake, rowvar=False), np.cov(real, rowvar=False)
    root = sqrtm(a @ b)
    return float(np.square(fake.mean(0) - real.mean(0)).sum() + np.trace(a + b - 2 * root.real))


def distance(fake, real):
    return metrics.frechet_distance(Features(fake).statistics, Features(real).statistics)


class Images(Dataset):
    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.images[index]


def torch_fidelity_s(fake, real, extractor, **metrics):
    """The scores that torch-fidelity computes."""
    from torch_fidelity import calculate_metrics

    settings = {"feature_extractor": extractor, "cuda": False, "save_cpu_ram": True, "verbose": False, "cache": False}
    return calculate_metrics(input1=Images(fake), input2=Images(real), **settings, **metrics)


@pytest.mark.parametrize(("n", "width"), [(500, 16), (2000, 128)])
def test_it_agrees_with_scipy_on_correlated_features(n, width):
    mix = torch.randn(width, width)
    fake, real = torch.randn(n, width) @ mix + 0.3, torch.randn(n + 50, width) @ mix.t()
    assert distance(fake, real) == pytest.approx(reference_distance(fake, real), rel=1e-6)


def test_gaussians_that_differ_by_a_shift_have_a_closed_form():
    real = torch.randn(400, 10)
    assert distance(real + 2.0, real) == pytest.approx(10 * 2.0**2, rel=1e-5)
    assert distance(real, real) == pytest.approx(0, abs=1e-8)


def test_a_scaled_gaussian_has_a_closed_form():
    real = torch.randn(400, 10) @ torch.randn(10, 10)
    real = real - real.mean(0)
    expected = float(torch.cov(real.double().t()).trace()) * (3 - 1) ** 2
    assert distance(3 * real, real) == pytest.approx(expected, rel=1e-5)


def test_a_projection_applies_only_to_gaussians(extractor, noise):
    """The scores equal those of features projected beforehand, and torch-fidelity's own."""

    class Projecting(type(extractor)):
        digest = "projecting"
        projection = torch.randn(extractor.width, 3, generator=torch.Generator().manual_seed(0))

    projecting = Projecting().eval()
    fake, real = noise(300, top=150), noise(250, seed=1)
    found = [extract("projecting", projecting, images, CPU) for images in (fake, real)]
    by_hand = [one.values.double() @ projecting.projection.double() for one in found]
    ours = metrics.frechet_distance(found[0].statistics, found[1].statistics)
    assert ours == pytest.approx(reference_distance(*by_hand), rel=1e-6)
    assert torch.equal(found[0].values, extract("tiny", Projecting().eval(), fake, CPU).values)
    theirs = torch_fidelity_s(fake, real, register("projecting", projecting), fid=True)
    assert theirs["frechet_inception_distance"] == pytest.approx(ours, rel=1e-6)


def test_features_are_float32_even_under_autocast(extractor, noise):
    images = noise(50)
    plain = extract("tiny", extractor, images, CPU)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = extract("tiny", extractor, images, CPU)
    assert torch.equal(plain.values, inside.values)
    assert torch.equal(plain.logits, inside.logits)


def direct_kernel_distance(x, y):
    """Unbiased MMD² with the kernel (ab/width + 1)³, pair by pair, in float64."""
    x, y = x.double(), y.double()

    def mean(a, b, skip):
        pairs = [
            (float(p @ q) / len(p) + 1) ** 3 for i, p in enumerate(a) for j, q in enumerate(b) if not (skip and i == j)
        ]
        return sum(pairs) / len(pairs)

    return mean(x, x, True) + mean(y, y, True) - 2 * mean(x, y, False)


def test_the_kernel_distance_agrees_with_every_pair_written_out():
    # As many samples as a subset takes, so that each subset is the whole set.
    fake, real = torch.randn(60, 8) * 1.2 + 0.3, torch.randn(60, 8)
    found = metrics.kernel_distance(fake.double(), real.double())[0]
    assert found == pytest.approx(direct_kernel_distance(fake, real), rel=1e-10)
    assert metrics.kernel_distance(fake, real)[0] == pytest.approx(found, rel=1e-4)


def test_the_kernel_distance_of_one_distribution_is_about_zero_and_seeded(monkeypatch):
    assert metrics.KID_SUBSETS == 100
    monkeypatch.setattr(metrics, "KID_SUBSETS", 4)
    one, other, far = torch.randn(1500, 16), torch.randn(1500, 16), torch.randn(1500, 16) + 0.2
    near = metrics.kernel_distance(one, other)[0]
    assert abs(near) < 0.02 * metrics.kernel_distance(far, other)[0]
    assert metrics.kernel_distance(one, other)[0] == near


def test_the_classifier_score_has_closed_forms():
    sure = torch.eye(5).repeat(40, 1) * 50
    assert metrics.classifier_score(sure[:1].repeat(200, 1))[0] == pytest.approx(1, abs=1e-9)
    assert metrics.score_splits(200) == 10
    assert metrics.score_splits(5) == 2
    # Four confidently classified images of four classes, in two splits: each split has two classes.
    assert metrics.classifier_score(sure[:4])[0] == pytest.approx(2, rel=1e-9)


def test_torch_fidelity_accepts_the_extractor_by_name_and_agrees(extractor, noise):
    name = register("tiny", extractor)
    assert name == f"tiny-{extractor.digest[:12]}"
    assert register("tiny", extractor) == name
    fake, real = noise(300, top=150), noise(250, seed=1)
    theirs = torch_fidelity_s(fake, real, name, fid=True, isc=True, isc_splits=1, batch_size=100)
    ours = [extract("tiny", extractor, images, CPU, batch_size=100) for images in (fake, real)]
    assert theirs["frechet_inception_distance"] == pytest.approx(
        metrics.frechet_distance(ours[0].statistics, ours[1].statistics), rel=1e-9
    )
    p = ours[0].logits.double().softmax(1)
    divergence = (p * (p / p.mean(0)).log()).sum(1).mean()
    assert theirs["inception_score_mean"] == pytest.approx(float(divergence.exp()), rel=1e-6)
