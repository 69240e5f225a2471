"""Intervals and the limit of many samples, in cases where the truth is known."""

from statistics import stdev

import numpy as np
import pytest
import torch

from ganzoo import Features
from ganzoo.evaluation import intervals, metrics
from ganzoo.evaluation.intervals import DistanceTo, _moments, fid_infinity, fid_interval

WIDTH = 12


def drawn(n, seed, shift=0.0):
    return torch.randn(n, WIDTH, generator=torch.Generator().manual_seed(seed)) + shift


def standard():
    """The statistics of infinitely many samples."""
    return {"mu": np.zeros(WIDTH), "sigma": np.eye(WIDTH)}


def fid(features, real):
    return metrics.frechet_distance(Features(features).statistics, real)


@pytest.mark.parametrize("dead", [0, 4])
def test_the_fast_distance_is_the_distance(dead):
    mix = torch.randn(WIDTH, WIDTH)
    fake, real = drawn(500, 1) @ mix + 0.3, drawn(400, 2) @ mix.T
    fake[:, :dead] = real[:, :dead] = 0  # features that never fire
    real = Features(real).statistics
    ours = DistanceTo(real)(*_moments(fake, torch.ones(500, dtype=torch.float64)))
    assert ours == pytest.approx(fid(fake, real), rel=1e-7)


def test_moments_with_counts_equal_those_of_the_repeated_set():
    features, counts = drawn(5000, 1), torch.arange(5000) % 4
    repeated = features.repeat_interleave(counts, dim=0).double().numpy()
    mean, covariance = _moments(features, counts.double())
    assert np.allclose(mean, repeated.mean(0), atol=1e-12)
    assert np.allclose(covariance, np.cov(repeated, rowvar=False), atol=1e-12)


def test_an_interval_is_as_wide_as_independent_draws_spread():
    scores = [fid(drawn(600, seed, shift=0.2), standard()) for seed in range(200)]
    spread = np.quantile(scores, 0.975) - np.quantile(scores, 0.025)
    widths = []
    for seed in range(8):
        low, high = fid_interval(drawn(600, seed, shift=0.2), standard(), scores[seed])
        assert low < scores[seed] < high
        widths.append(high - low)
    assert np.mean(widths) == pytest.approx(spread, rel=0.25)


def test_fid_infinity_of_the_same_distribution_is_zero_although_fid_is_not():
    finite = [fid(drawn(1000, seed), standard()) for seed in range(10)]
    endless = [fid_infinity(drawn(1000, seed), standard()) for seed in range(10)]
    assert np.mean(finite) > 0.04
    assert abs(np.mean(endless)) < 0.2 * np.mean(finite)


def test_fid_infinity_of_a_shift_is_the_shift_squared():
    endless = np.mean([fid_infinity(drawn(1000, seed, shift=0.3), standard()) for seed in range(10)])
    assert endless == pytest.approx(WIDTH * 0.3**2, rel=0.05)


def test_both_are_deterministic_and_keep_the_random_state():
    before = torch.get_rng_state()
    features = drawn(300, 0)
    assert fid_infinity(features, standard()) == fid_infinity(features, standard())
    assert fid_interval(features, standard(), 1.0) == fid_interval(features, standard(), 1.0)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_interval_matches_resampled_sets_written_out():
    features, real, generator = drawn(40, 3, shift=0.1), Features(drawn(50, 4)).statistics, torch.Generator()
    generator.manual_seed(2020)
    scores = np.array([fid(features[torch.randint(40, (40,), generator=generator)], real) for _ in range(100)])
    low, high = np.quantile(scores, 0.025) - scores.mean(), np.quantile(scores, 0.975) - scores.mean()
    assert fid_interval(features, real, 7.0) == pytest.approx((7.0 + low, 7.0 + high), rel=1e-5)


def test_the_interval_in_wide_features_comes_from_the_spread_of_fewer_sets(monkeypatch):
    monkeypatch.setattr(intervals, "WIDE", WIDTH)
    features, real, generator = drawn(40, 3, shift=0.1), Features(drawn(50, 4)).statistics, torch.Generator()
    generator.manual_seed(2020)
    scores = [fid(features[torch.randint(40, (40,), generator=generator)], real) for _ in range(intervals.FEW_ROUNDS)]
    half = 1.96 * stdev(scores)
    assert fid_interval(features, real, 7.0) == pytest.approx((7.0 - half, 7.0 + half), rel=1e-3)


def test_fid_infinity_is_the_end_of_the_line_through_the_subsets_scores():
    features, real, generator = drawn(203, 3, shift=0.1), Features(drawn(50, 4)).statistics, torch.Generator()
    generator.manual_seed(2020)
    sizes = [round(203 / 5 + step * (203 - 203 / 5) / 14) for step in range(15)]
    scores = np.array([fid(features[torch.randperm(203, generator=generator)[:size]], real) for size in sizes])
    x = 1 / np.array(sizes)
    slope = ((x - x.mean()) * (scores - scores.mean())).sum() / np.square(x - x.mean()).sum()
    assert fid_infinity(features, real) == pytest.approx(scores.mean() - slope * x.mean(), rel=1e-5)
