"""95% intervals, compared with repeated draws and with loops written out."""

import math

import numpy as np
import pytest
import torch

from ganzoo.errors import GanzooError
from ganzoo.evaluation import intervals, metrics
from ganzoo.evaluation.neighbours import manifolds, radii


def drawn(n, seed):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def test_the_interval_of_a_mean():
    values = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    half = 1.959963984540054 * np.std([0, 0, 1, 1, 1], ddof=1) / math.sqrt(5)
    assert intervals.of_mean(values, (-9, 9)) == pytest.approx((0.6 - half, 0.6 + half))
    assert intervals.of_mean(values > 0, (0, 1)) == pytest.approx((0.6 - half, 1.0))
    assert intervals.deviation((0.6 - half, 0.6 + half)) == pytest.approx(half / 1.959963984540054)


@pytest.mark.parametrize(("k", "n"), [(0, 10_000), (3, 40), (50, 100), (40, 40), (1, 1)])
def test_the_ends_of_a_share_s_interval_are_two_standard_errors_away(k, n):
    """Wilson's interval solves (p - k/n)^2 = z^2 p (1 - p) / n for p."""
    low, high = intervals.share_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high - low > 0
    for end in (low, high):
        assert (end - k / n) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / n, rel=1e-6, abs=1e-15)


@pytest.mark.parametrize(("k", "n"), [(0, 0), (3, 2), (-1, 5), (math.nan, 5)])
def test_what_is_no_share_is_refused(k, n):
    with pytest.raises(GanzooError, match=f"{k} of {n} samples is not a share. Give 0 to n of n samples"):
        intervals.share_interval(k, n)


def test_class_counts_of_a_million_samples_are_resampled_as_counts():
    counts = torch.tensor([900_000, 99_990, 10])
    low, high = intervals.of_counts(counts, lambda drawn: float(drawn[2]), 10.0, (0, 1e6))
    assert 2 <= low < 8
    assert 12 < high <= 19  # a Poisson's 95% of 10 is 4 to 17


def test_a_union_s_interval_matches_the_jackknife_written_out():
    reached = torch.rand(7, 50, generator=torch.Generator().manual_seed(0)) < 0.2
    without = [float(torch.cat([reached[:g], reached[g + 1 :]]).any(0).double().mean()) for g in range(7)]
    deviation = math.sqrt(6 / 7 * sum((one - np.mean(without)) ** 2 for one in without))
    value = float(reached.any(0).double().mean())
    expected = (max(0, value - 1.959963984540054 * deviation), min(1, value + 1.959963984540054 * deviation))
    assert deviation > 1 / 50
    assert intervals.of_union(reached) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_union_that_depends_on_no_group_is_uncertain_by_one_real_image(share):
    reached = (torch.arange(50) < 50 * share).expand(7, 50)
    low, high = intervals.of_union(reached)
    half = 1.959963984540054 / 50
    assert (low, high) == pytest.approx((max(0, share - half), min(1, share + half)))


def test_coverage_and_recall_of_new_draws_lie_within_their_intervals():
    real = drawn(400, 10_000)
    balls = {"coverage_radii": radii(real, 5), "precision_radii": radii(real, 3)}
    values, deviations = [], []
    for seed in range(25):
        fake = drawn(400, seed) * 0.8
        found = manifolds(fake, real, **balls, recall_radii=radii(fake, 3))
        values.append([float(some.any(0).double().mean()) for some in (found.covered, found.recalled)])
        deviations.append([intervals.deviation(intervals.of_union(some)) for some in (found.covered, found.recalled)])
    for ratio in np.mean(deviations, axis=0) / np.std(values, axis=0, ddof=1):
        assert 0.9 < ratio < 2.5  # the jackknife errs towards wide intervals


def test_an_interval_of_class_counts_is_as_wide_as_draws_spread():
    shares = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)

    def entropy(counts):
        return float(torch.special.entr(counts / counts.sum()).sum())

    generator = torch.Generator().manual_seed(1)
    draws = torch.multinomial(shares, 300 * 1000, replacement=True, generator=generator).view(1000, 300)
    scores = [entropy(draw.bincount(minlength=4).double()) for draw in draws]
    counts = draws[0].bincount(minlength=4)
    low, high = intervals.of_counts(counts, entropy, scores[0], (0, math.log(4)))
    assert high - low == pytest.approx(np.quantile(scores, 0.975) - np.quantile(scores, 0.025), rel=0.25)
    assert intervals.of_counts(counts, entropy, scores[0], (0, math.log(4))) == (low, high)


def test_counts_that_a_bootstrap_cannot_vary_have_no_interval():
    """An interval of zero width would promise certainty."""
    assert intervals.of_counts(torch.zeros(3), lambda counts: 0.0, 0.0, (0, 1)) is None
    assert intervals.of_counts(torch.tensor([0, 50, 0]), lambda counts: float((counts > 0).sum()), 1.0, (0, 3)) is None


def test_the_mean_of_few_splits_has_an_interval_from_student_s_t_distribution():
    """Splits from a normal distribution, whose own quantiles would give three splits 85% instead of 95%."""
    for splits in (2, 3, 10):
        draws = torch.randn(20_000, splits, generator=torch.Generator().manual_seed(splits))
        moments = zip(draws.mean(1).tolist(), draws.std(1, correction=0).tolist(), strict=True)
        ends = [intervals.of_mean_over_splits(mean, spread, splits, (-1e9, 1e9)) for mean, spread in moments]
        assert np.mean([low <= 0 <= high for low, high in ends]) == pytest.approx(0.95, abs=0.005)
    assert intervals.of_mean_over_splits(1.0, 1.0, 3, (1.0, math.inf))[0] == 1.0


def test_a_kernel_distance_s_jackknife_leaves_out_each_sample_in_turn():
    fake, real = drawn(9, 0).double(), drawn(7, 1).double()

    def distance(a):
        k = lambda x, y: (x @ y.T / 4 + 1) ** 3  # noqa: E731
        n = len(a)
        return float((k(a, a).sum() - k(a, a).diagonal().sum()) / (n * (n - 1)) - 2 * k(a, real).mean())

    without = [distance(torch.cat([fake[:i], fake[i + 1 :]])) for i in range(9)]
    deviation = math.sqrt(8 / 9 * sum((one - np.mean(without)) ** 2 for one in without) + 0.3**2 / 100)
    found = intervals.kid_interval(fake.float(), real.float(), 0.5, 0.3**2 / 100, torch.device("cpu"))
    assert found == pytest.approx((0.5 - 1.959963984540054 * deviation, 0.5 + 1.959963984540054 * deviation), rel=1e-5)


@pytest.mark.parametrize("n", [101, 300])
def test_kernel_distances_of_new_draws_lie_within_their_intervals(n, monkeypatch):
    """Even if a subset holds nearly all samples, or all of them."""
    monkeypatch.setattr(metrics, "KID_SUBSET_SIZE", 100)
    real, values, deviations = drawn(300, 10_000), [], []
    for seed in range(15):
        fake = drawn(n, seed) * 1.1 + 0.2
        value, spread = metrics.kernel_distance(fake, real)
        values.append(value)
        ends = intervals.kid_interval(fake, real, value, spread**2 / 100, torch.device("cpu"))
        deviations.append(intervals.deviation(ends))
    assert 0.7 < np.mean(deviations) / np.std(values, ddof=1) < 1.7


def test_the_jackknife_of_many_samples_uses_only_some_of_them(monkeypatch):
    fake, real, none = drawn(4000, 0) + 0.3, drawn(500, 1), torch.device("cpu")
    whole = intervals.deviation(intervals.kid_interval(fake, real, 0.0, 0.0, none))
    monkeypatch.setattr(intervals, "KID_IMAGES", 500)
    assert intervals.deviation(intervals.kid_interval(fake, real, 0.0, 0.0, none)) == pytest.approx(whole, rel=0.2)


def test_an_interval_contains_its_score_even_if_nearly_all_sets_score_the_same():
    """One set in fifty lacks one of ten classes: the mean of the sets is below the score of nearly all of them."""
    low, high = intervals.recentred(1.0, [0.9, *[1.0] * 49], (0, 1))
    assert low <= 1.0 == high
