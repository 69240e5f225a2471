"""95% intervals, beside draws of the same kind and beside loops written out."""

import math

import numpy as np
import pytest
import torch

from ganzoo.evaluation import intervals
from ganzoo.evaluation.neighbours import manifolds, radii


def drawn(n, seed):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed))


def test_a_mean_has_the_interval_of_a_mean():
    values = torch.tensor([0.0, 0.0, 1.0, 1.0, 1.0])
    half = 1.959963984540054 * np.std([0, 0, 1, 1, 1], ddof=1) / math.sqrt(5)
    assert intervals.of_mean(values, (-9, 9)) == pytest.approx((0.6 - half, 0.6 + half))
    assert intervals.of_mean(values > 0, (0, 1)) == pytest.approx((0.6 - half, 1.0))
    assert intervals.deviation((0.6 - half, 0.6 + half)) == pytest.approx(half / 1.959963984540054)


@pytest.mark.parametrize(("k", "n"), [(0, 10_000), (3, 40), (50, 100), (40, 40), (1, 1)])
def test_a_share_s_ends_are_where_it_would_be_two_standard_errors_off(k, n):
    """Wilson's interval solves (p - k/n)^2 = z^2 p (1 - p) / n for p."""
    low, high = intervals.share_interval(k, n)
    assert 0 <= low <= k / n <= high <= 1
    assert high - low > 0
    for end in (low, high):
        assert (end - k / n) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / n, rel=1e-6, abs=1e-15)


def test_counts_of_a_million_samples_are_drawn_as_counts():
    counts = torch.tensor([900_000, 99_990, 10])
    low, high = intervals.of_counts(counts, lambda drawn: float(drawn[2]), 10.0, (0, 1e6))
    assert 2 <= low < 8
    assert 12 < high <= 19  # a Poisson's 95% of 10 is 4 to 17


def test_a_union_s_interval_is_the_jackknife_written_out():
    reached = torch.rand(7, 50, generator=torch.Generator().manual_seed(0)) < 0.2
    without = [float(torch.cat([reached[:g], reached[g + 1 :]]).any(0).double().mean()) for g in range(7)]
    deviation = math.sqrt(6 / 7 * sum((one - np.mean(without)) ** 2 for one in without))
    value = float(reached.any(0).double().mean())
    expected = (max(0, value - 1.959963984540054 * deviation), min(1, value + 1.959963984540054 * deviation))
    assert intervals.of_union(reached) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("what", ["covered", "recalled"])
def test_coverage_and_recall_of_other_draws_lie_within_their_intervals(what):
    real = drawn(400, 10_000)
    balls = {"coverage_radii": radii(real, 5), "precision_radii": radii(real, 3)}
    values, deviations = [], []
    for seed in range(40):
        fake = drawn(400, seed) * 0.8
        found = getattr(manifolds(fake, real, **balls, recall_radii=radii(fake, 3)), what)
        values.append(float(found.any(0).double().mean()))
        deviations.append(intervals.deviation(intervals.of_union(found)))
    # The jackknife errs towards wide intervals.
    assert 0.9 < np.mean(deviations) / np.std(values, ddof=1) < 2.5


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


def test_what_nothing_was_counted_of_has_no_width():
    assert intervals.of_counts(torch.zeros(3), lambda counts: 0.0, 0.0, (0, 1)) == (0.0, 0.0)
    assert intervals.of_union(torch.ones(1, 5, dtype=torch.bool)) == (1.0, 1.0)


def test_an_interval_holds_its_score_where_nearly_all_sets_score_the_same():
    """One set in fifty lacks one of ten classes: the mean of the sets lies below the score of nearly all of them."""
    low, high = intervals.laid_around(1.0, [0.9, *[1.0] * 49], (0, 1))
    assert low <= 1.0 == high
