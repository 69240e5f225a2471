"""Verdicts on constructed scores, their error rates in simulation, and the statistics against references."""

import math

import numpy as np
import pytest
from scipy import stats

from ganzoo.studies.verdicts import LEVEL, SMALLEST, Comparison, Dunnett, Outcome, holm, judge

NOISE = 0.05


def logs(mean, n, seed, noise=NOISE):
    """Log scores of n seeds whose mean and deviation are exactly these."""
    drawn = np.random.default_rng(seed).normal(size=n)
    return tuple(mean + noise * (drawn - drawn.mean()) / drawn.std(ddof=1))


def verdict(effect, *, n=5, baseline=10, noise=NOISE, **rest):
    (found,) = judge([Comparison(logs(effect, n, 1, noise), logs(0, baseline, 2, noise), **rest)])
    return found


@pytest.mark.parametrize(
    ("effect", "outcome"),
    [
        (math.log(1.5), Outcome.HOLDS),
        (0.0, Outcome.DOES_NOT_HOLD),
        (-math.log(1.5), Outcome.DOES_NOT_HOLD),
        (math.log(1.05), Outcome.CANNOT_TELL),
    ],
)
def test_an_effect_beyond_the_noise_holds_none_does_not_and_one_within_cannot_be_told(effect, outcome):
    found = verdict(effect)
    assert found.outcome is outcome
    assert found.effect == pytest.approx(math.exp(effect))
    assert found.interval[0] < found.effect < found.interval[1]
    assert found.seeds == (5, 10)


def test_an_effect_that_is_certain_but_smaller_than_was_stated_does_not_hold():
    found = verdict(math.log(1.04), noise=0.005)
    assert found.outcome is Outcome.DOES_NOT_HOLD
    assert found.p < LEVEL
    assert found.interval[1] < SMALLEST


def test_three_seeds_cannot_tell_what_ten_can():
    assert verdict(math.log(1.1), n=10).outcome is Outcome.HOLDS
    few = verdict(math.log(1.1), n=3, baseline=3)
    assert few.outcome is Outcome.CANNOT_TELL
    assert "3 seeds or fewer" in few.why


@pytest.mark.parametrize(
    ("comparison", "why"),
    [
        (Comparison((1.0,), logs(0, 10, 2)), "two seeds"),
        (Comparison((), (), better_failed=3), "3 runs failed"),
        (Comparison((7.0,) * 5, (7.0,) * 5), "All seeds score the same"),
        (Comparison((), (), trouble="No logarithm."), "No logarithm"),
        (Comparison(logs(1, 5, 1), logs(0, 10, 2), better_failed=1), "1 run of the method failed"),
        (Comparison(logs(-1, 5, 1), logs(0, 10, 2), than_failed=2), "2 runs of what it is compared with failed"),
    ],
)
def test_where_scores_do_not_carry_a_verdict_the_reason_is_said(comparison, why):
    (found,) = judge([comparison])
    assert found.outcome is Outcome.CANNOT_TELL
    assert why in found.why


def test_a_row_at_the_limit_of_a_measure_is_compared_by_the_noise_of_the_other():
    (found,) = judge([Comparison((math.log(1000),) * 5, logs(math.log(800), 10, 2))])
    assert found.outcome is Outcome.HOLDS
    assert found.effect == pytest.approx(1.25)


def test_one_claim_more_makes_it_harder_for_all():
    just = Comparison(logs(0.071, 5, 1), logs(0, 10, 2))
    (alone,) = judge([just])
    among, *_ = judge([just, *(Comparison(logs(0, 5, 3 + i), logs(0, 10, 2)) for i in range(9))])
    assert alone.outcome is Outcome.HOLDS
    assert among.outcome is Outcome.CANNOT_TELL
    assert among.p == pytest.approx(10 * alone.p)
    assert among.why == "The noise between seeds hides the answer; more seeds would show it."


def test_a_row_of_wild_seeds_does_not_borrow_the_calm_of_the_others():
    wild, calm = logs(0.5, 5, 1, noise=0.6), logs(0, 10, 2, noise=0.02)
    others = [logs(0, 5, 3 + i, noise=0.02) for i in range(6)]
    pooled = stats.dunnett(wild, *others, control=calm, random_state=0)
    assert pooled.pvalue[0] < LEVEL  # the pooled deviation takes it for calm
    (found,) = judge([Comparison(wild, calm, others)])
    assert found.outcome is Outcome.CANNOT_TELL
    welch = stats.ttest_ind(wild, calm, equal_var=False)
    assert found.p == pytest.approx(welch.pvalue)
    assert found.interval == pytest.approx(np.exp(welch.confidence_interval(0.95)))


def test_where_a_wild_row_hides_what_two_calm_ones_show_the_reason_says_so():
    calm, control = logs(-0.3, 5, 1, noise=0.05), logs(0, 10, 2, noise=0.05)
    (found,) = judge([Comparison(calm, control, [logs(0, 5, 3, noise=0.9)])])
    assert found.outcome is Outcome.CANNOT_TELL
    low, high = np.exp(stats.ttest_ind(calm, control, equal_var=False).confidence_interval(0.95))
    assert high < SMALLEST < found.interval[1]
    assert f"between ×{low:.2f} and ×{high:.2f}" in found.why
    (found,) = judge([Comparison(logs(0, 5, 1, noise=0.9), control)])
    assert found.why == "The noise between seeds hides the answer; more seeds would show it."


def test_no_row_has_less_noise_than_its_measure_rounds_away():
    rows = (math.log(8),) * 5, (math.log(4),) * 5
    (without,) = judge([Comparison(*rows)])
    assert without.outcome is Outcome.CANNOT_TELL
    step = 1 / math.sqrt(12)
    (found,) = judge([Comparison(*rows, better_rounding=step / 8, than_rounding=step / 4)])
    assert found.outcome is Outcome.HOLDS
    assert found.effect == pytest.approx(2)
    error = step * math.sqrt((1 / 8**2 + 1 / 4**2) / 5)
    assert math.log(found.interval[1] / 2) > stats.norm.ppf(0.975) * error
    # It adds nothing where the seeds differ by more.
    noisy = Comparison(logs(0.5, 5, 1), logs(0, 10, 2))
    rounded = Comparison(logs(0.5, 5, 1), logs(0, 10, 2), better_rounding=NOISE / 2, than_rounding=NOISE / 2)
    assert judge([noisy]) == judge([rounded])


def test_holm_as_in_his_paper_and_in_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(("rows", "n", "control"), [(1, 2, 2), (1, 5, 10), (4, 5, 10), (6, 3, 6)])
def test_dunnetts_distribution_is_scipys(rows, n, control):
    random = np.random.default_rng(0)
    samples = [random.normal(0.3 * i, 1, n) for i in range(rows)]
    baseline = random.normal(0, 1, control)
    ours = Dunnett((n,) * rows, control)
    both = stats.dunnett(*samples, control=baseline, random_state=0)
    less = stats.dunnett(*samples, control=baseline, random_state=0, alternative="less")
    assert [1 - ours.within(abs(t)) for t in both.statistic] == pytest.approx(both.pvalue, abs=1e-3)
    assert [1 - ours.within(-t, two_sided=False) for t in less.statistic] == pytest.approx(less.pvalue, abs=1e-3)


@pytest.mark.parametrize(("sizes", "control", "critical"), [((5,), 10, stats.t.ppf(0.975, 13)), ((6, 6, 6), 6, 2.54)])
def test_critical_values_are_students_for_one_row_and_dunnetts_tabulated_ones_for_several(sizes, control, critical):
    # Dunnett 1964, New tables for multiple comparisons with a control: 3 rows, 20 degrees of freedom, two-sided 5%.
    assert Dunnett(sizes, control).critical(0.95) == pytest.approx(critical, abs=0.005)


@pytest.mark.parametrize("noises", [(0.1,) * 5, (0.1, 0.1, 0.1, 0.1, 0.5), (0.02, 0.1, 0.1, 0.1, 0.4)])
def test_where_no_method_is_better_at_most_one_study_in_twenty_says_that_one_is(noises):
    """The family-wise error rate of four claims, also where the rows' noise differs."""
    random, wrong, studies = np.random.default_rng(0), 0, 60
    for _ in range(studies):
        control = random.normal(0, noises[0], 10)
        rows = [random.normal(0, noise, 5) for noise in noises[1:]]
        found = judge([Comparison(row, control, [other for other in rows if other is not row]) for row in rows])
        wrong += any(one.outcome is Outcome.HOLDS for one in found)
    assert wrong <= LEVEL * studies


def test_where_every_method_is_ten_percent_better_at_most_one_study_in_twenty_says_that_one_is_not():
    random, wrong, studies = np.random.default_rng(1), 0, 60
    for _ in range(studies):
        control = random.normal(0, 0.03, 10)
        rows = [random.normal(math.log(SMALLEST), 0.03, 5) for _ in range(4)]
        found = judge([Comparison(row, control, [other for other in rows if other is not row]) for row in rows])
        wrong += any(one.outcome is Outcome.DOES_NOT_HOLD for one in found)
    assert wrong <= LEVEL * studies
