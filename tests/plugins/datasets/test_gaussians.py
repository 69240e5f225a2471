"""Ring and grid: the mixtures themselves, what judges them, and a generator that finds the modes."""

from math import exp, inf

import numpy as np
import pytest
import torch
from PIL import Image

from ganzoo import GanzooError, Points
from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.evaluate import read_pictures
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.metrics import assigned, class_counts, kl_to_uniform, modes_found
from ganzoo.runs.generator import load
from ganzoo.runs.start import start
from ganzoo_plugins.datasets.gaussians import GRID, RING, GridModes, RingModes

CPU = torch.device("cpu")
domains = pytest.mark.parametrize(
    ("mixture", "extractor"), [(RING, RingModes), (GRID, GridModes)], ids=lambda value: getattr(value, "name", "")
)


def quality(logits):
    """The share of samples that belong to a mode."""
    return len(assigned(logits)) / len(logits)


def at(mixture, *places):
    """Points that a generator would draw, from places in the paper's units."""
    return (torch.tensor(places) / mixture.scale).view(-1, 1, 1, 2)


def test_the_ring_is_the_papers():
    radii = torch.tensor(RING.means).norm(dim=1)
    torch.testing.assert_close(radii, torch.full((8,), 2.0))
    assert RING.means[0] == (2.0, 0.0)
    assert RING.means[2] == pytest.approx((0.0, 2.0), abs=1e-12)
    assert (RING.std, RING.scale) == (0.02, 2.5)


def test_the_grid_is_the_papers():
    assert set(GRID.means) == {(-4.0 + 2 * i, -4.0 + 2 * j) for i in range(5) for j in range(5)}
    assert (GRID.std, GRID.scale) == (0.05, 5.0)


@domains
@pytest.mark.parametrize("split", ["train", "test"])
def test_points_have_the_moments_of_their_mode(mixture, extractor, split, zoo):
    dataset = zoo.datasets.get(mixture.name).create(split, None)
    k = len(mixture.means)
    assert len(dataset) == {"train": 100_000, "test": 10_000}[split]
    assert dataset.shape == (1, 1, 2)
    assert dataset.modality == Points(1, 1, 2)
    assert len(dataset.classes) == k
    points = dataset.images.flatten(1) * mixture.scale
    counts = dataset.labels.bincount(minlength=k)
    n = len(dataset) / k
    assert (counts - n).abs().max() < 5 * n**0.5
    for mode, mean in enumerate(mixture.means):
        own = points[dataset.labels == mode]
        torch.testing.assert_close(own.mean(0), torch.tensor(mean), rtol=0, atol=6 * mixture.std / len(own) ** 0.5)
        torch.testing.assert_close(own.std(0), torch.full((2,), mixture.std), rtol=0.2, atol=0)


@domains
def test_the_splits_are_different_draws_and_each_is_always_the_same(mixture, extractor, zoo):
    entry = zoo.datasets.get(mixture.name)
    test = entry.create("test", None).images
    assert torch.equal(test, entry.create("test", None).images)
    assert not torch.isin(test.flatten(), entry.create("train", None).images.flatten()).all()


@domains
def test_samples_on_the_means_are_of_their_modes(mixture, extractor):
    values, logits = extractor()(at(mixture, *mixture.means))
    torch.testing.assert_close(values, torch.tensor(mixture.means))
    assert logits.argmax(1).tolist() == list(range(len(mixture.means)))


@domains
@pytest.mark.parametrize(("deviations", "near"), [(2.98, True), (3.02, False)])
def test_a_mode_ends_at_three_standard_deviations(mixture, extractor, deviations, near):
    step = deviations * mixture.std * torch.tensor([0.6, 0.8])
    place = torch.tensor(mixture.means[5]) + step
    _, logits = extractor()(at(mixture, tuple(place.tolist())))
    assert quality(logits) == near
    if near:
        assert logits[0, 5].item() == pytest.approx(-(deviations**2) / 2, rel=1e-3)
        assert (logits[0] == -inf).sum() == len(mixture.means) - 1


def test_between_the_modes_there_is_nothing():
    _, logits = RingModes()(at(RING, (0.0, 0.0), (1.4, 0.0), (-5.0, 7.0)))
    assert (logits == -inf).all()
    assert modes_found(class_counts(logits)) == quality(logits) == 0


@domains
def test_the_truth_scores_what_a_gaussian_must(mixture, extractor, zoo):
    """In the plane, exp(-9/2) of a Gaussian's mass lies beyond three standard deviations."""
    _, logits = extractor()(zoo.datasets.get(mixture.name).create("test", None).images)
    assert modes_found(class_counts(logits)) == len(mixture.means)
    assert quality(logits) == pytest.approx(1 - exp(-4.5), abs=4 * (exp(-4.5) / 10_000) ** 0.5)
    assert kl_to_uniform(class_counts(logits)) < 3 * len(mixture.means) / 20_000


@pytest.mark.parametrize("images", [torch.zeros(3, 1, 1, 2, dtype=torch.uint8), torch.zeros(3, 1, 2, 2)])
def test_anything_but_points_is_refused(images):
    with pytest.raises(GanzooError, match="'ring' was given images of shape 3x1"):
        RingModes()(images)


def test_ring_and_grid_have_digests_of_their_own():
    assert RingModes().digest != GridModes().digest
    assert RingModes().digest == RingModes().digest


@domains
def test_the_judge_scores_points_beside_their_floor(mixture, extractor, zoo):
    name = mixture.name
    metrics = [f"{metric}@{name}" for metric in ("modes", "kl", "quality", "fid")]
    evaluator = Evaluator(metrics, zoo.datasets.get(name), {}, None, zoo, CPU)
    k = len(mixture.means)
    modes, kl, high, fid = evaluator.score(at(mixture, *mixture.means).repeat(100, 1, 1, 1))
    assert modes.value == modes.floor == k
    assert kl.value == pytest.approx(0, abs=1e-12)
    assert 0 < kl.floor < 0.02
    assert high.value == 1
    assert high.floor == pytest.approx(1 - exp(-4.5), abs=0.02)
    # The Gaussian fitted to the truth is wider by the modes' own variance, in each of the two directions.
    assert fid.value == pytest.approx(fid.floor, abs=0.1)
    assert modes.protocol["quantised"] == "none"
    with pytest.raises(GanzooError, match="cannot be scored"):
        evaluator.score(torch.zeros(10, 1, 1, 2, dtype=torch.uint8))


def test_metrics_that_want_a_class_for_every_sample_are_refused_here(zoo):
    entry = zoo.datasets.get("ring")
    with pytest.raises(GanzooError, match=r"'is@ring' cannot be computed: its extractor assigns some images to no"):
        Evaluator(["is@ring"], entry, {}, None, zoo, CPU)


@pytest.mark.full
def test_a_short_training_finds_the_ring(tmp_path, zoo):
    recipe = load_recipe("vanilla-ring", zoo, ["train.images=300000", "evaluate.every_images=null", "train.device=cpu"])
    run = start(recipe, zoo, tmp_path / "run")
    scores = {score["metric"]: score["value"] for score in run.scores() if score["weights"] == "ema"}
    assert scores["modes@ring"] >= 6
    assert scores["quality@ring"] > 0.1  # of an untrained generator 0, of the truth 0.99


def test_a_run_on_points_draws_and_shows_points(tmp_path, zoo):
    settings = ["train.images=512", "evaluate.every_images=null", "evaluate.metrics=[]", "train.device=cpu"]
    run = start(load_recipe("vanilla-ring", zoo, settings), zoo, tmp_path / "run")
    assert run.info["modality"] == "points"
    assert load(run, zoo=zoo, device=CPU).sample(5).dtype == torch.float32
    with Image.open(max((run.path / "samples").glob("*.png"))) as picture:
        assert picture.size == (384, 384)


def test_points_in_a_file_are_read_as_they_were_drawn(tmp_path):
    points = (torch.rand(50, 1, 2) * 2 - 1).numpy()
    np.savez(tmp_path / "points.npz", images=points)
    read = read_pictures(tmp_path / "points.npz").fitted((1, 1, 2))
    assert read.images.shape == (50, 1, 1, 2)
    assert np.array_equal(read.images[:, 0].numpy(), points)
    assert read.notes == ("50 points, 2 dimensions.",)
