"""Verdicts on constructed scores, their error rates in simulation, and the statistics against references."""

import math
import re

import numpy as np
import pytest
from scipy import stats

from ganzoo_studies.verdicts import LEVEL, SMALLEST, Comparison, Outcome, holm, judge

NOISE = 0.05


def logs(mean, n, seed, noise=NOISE):
    """Log scores of n seeds with exactly this mean and standard deviation."""
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
def test_a_claim_holds_beyond_the_noise_fails_without_effect_and_is_undecided_within_it(effect, outcome):
    found = verdict(effect)
    assert found.outcome is outcome
    assert found.effect == pytest.approx(math.exp(effect))
    assert found.interval[0] < found.effect < found.interval[1]
    assert found.seeds == (5, 10)


def test_a_lower_bound_denies_nothing():
    found = verdict(0.0, at_least=True)
    assert found.outcome is Outcome.CANNOT_TELL
    assert found.why.startswith("The effect is only a lower bound")
    assert verdict(math.log(1.5), at_least=True).outcome is Outcome.HOLDS


def test_a_certain_effect_smaller_than_claimed_does_not_hold():
    found = verdict(math.log(1.04), noise=0.005)
    assert found.outcome is Outcome.DOES_NOT_HOLD
    assert found.p < LEVEL
    assert found.interval[0] > 1
    assert found.interval[1] < SMALLEST
    assert found.why == "There is an effect, but it is smaller than 10%."


def test_what_does_not_hold_has_the_p_of_the_test_that_decides_it():
    better, than = logs(0, 5, 1), logs(0, 10, 2)
    (found,) = judge([Comparison(better, than)])
    assert found.outcome is Outcome.DOES_NOT_HOLD
    shifted = [value - math.log(SMALLEST) for value in better]
    assert found.p == pytest.approx(stats.ttest_ind(shifted, than, equal_var=False, alternative="less").pvalue)
    assert verdict(-0.5).why == "It is worse, not better."


def test_a_row_is_called_worse_only_if_it_is_after_correction():
    others = [Comparison(logs(0, 5, 3 + i), logs(0, 10, 2)) for i in range(29)]
    lower = Comparison(logs(-0.1, 5, 1), logs(0, 10, 2))
    alone, among = judge([lower])[0], judge([lower, *others])[0]
    assert (alone.why, alone.interval) == ("It is worse, not better.", among.interval)
    assert among.outcome is Outcome.DOES_NOT_HOLD
    assert among.why == "If it is better, then by less than 10%."


def test_pairs_are_compared_as_by_scipy_s_t_test():
    than = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    better = than + logs(0.2, 5, 1)
    (found,) = judge([Comparison(tuple(better), tuple(than), paired=True, of="settings")])
    reference = stats.ttest_rel(better, than)
    assert found.p == pytest.approx(reference.pvalue)
    assert np.log(found.interval) == pytest.approx(tuple(reference.confidence_interval()))
    assert found.outcome is Outcome.HOLDS
    assert verdict(0.2, noise=1.4).outcome is Outcome.CANNOT_TELL  # as if the same numbers were unpaired


def test_waiting_claims_are_counted_so_that_their_runs_reverse_no_verdict():
    just = Comparison(logs(0.085, 5, 1), logs(0, 10, 2))
    waiting = [Comparison((), (), waits="It waits.")] * 9
    before, *untested = judge([just, *waiting])
    assert {one.outcome for one in untested} == {Outcome.WAITS}
    assert before.outcome is Outcome.CANNOT_TELL
    for p in (0.5, 1e-3):
        later = [Comparison(logs(stats.norm.isf(p / 2) * NOISE, 5, 3 + i), logs(0, 10, 2)) for i in range(9)]
        after, *_ = judge([just, *later])
        assert after.p <= before.p


def test_the_effect_that_would_have_shown_is_just_large_enough():
    others = [Comparison(logs(0, 5, 3 + i, noise=0.4), logs(0, 10, 2)) for i in range(9)]
    hidden = judge([Comparison(logs(0.1, 5, 1, noise=0.4), logs(0, 10, 2)), *others])[0]
    said = re.fullmatch(
        r"Given the noise between seeds, a measured effect above ×(.*) would have been significant\.", hidden.why
    )
    least = float(said[1])
    for effect, outcome in ((1.01 * least, Outcome.HOLDS), (0.99 * least, Outcome.CANNOT_TELL)):
        found = judge([Comparison(logs(math.log(effect), 5, 1, noise=0.4), logs(0, 10, 2)), *others])[0]
        assert found.outcome is outcome


@pytest.mark.parametrize(("runs", "outcome"), [((5, 10), Outcome.CANNOT_TELL), ((10, 10), Outcome.HOLDS)])
def test_over_settings_failures_count_against_the_row_that_lost_the_larger_share(runs, outcome):
    than = (0.0, 1.0, 2.0, 3.0, 4.0)
    better = tuple(a + b for a, b in zip(than, logs(0.5, 5, 1), strict=True))
    rest = {"failed": (2, 3), "runs": runs, "paired": True, "of": "settings"}
    assert judge([Comparison(better, than, **rest)])[0].outcome is outcome


@pytest.mark.parametrize(
    ("comparison", "why"),
    [
        (Comparison((1.0,), logs(0, 10, 2)), "two seeds"),
        (Comparison((), (), failed=(3, 0)), "3 runs have no score"),
        (Comparison((7.0,) * 5, (7.0,) * 5), "All seeds score the same"),
        (Comparison((8.0,) * 5, (7.0,) * 5), "Neither row varies between seeds"),
        (Comparison((7.0,) * 5, (7.0,) * 5, of="settings"), "All settings score the same"),
        (Comparison((1.0, 2.0, 3.0), (0.0, 1.0, 2.0), paired=True), "All pairs differ by the same factor"),
        (Comparison((), (), trouble="No logarithm."), "No logarithm"),
        (Comparison(logs(1, 5, 1), logs(0, 10, 2), failed=(1, 0)), "1 run of the method has no score"),
        (Comparison(logs(-1, 5, 1), logs(0, 10, 2), failed=(0, 2)), "2 runs of the row it is compared with have"),
    ],
)
def test_if_scores_allow_no_verdict_the_reason_is_given(comparison, why):
    (found,) = judge([comparison])
    assert found.outcome is Outcome.CANNOT_TELL
    assert why in found.why


def test_a_row_at_the_limit_of_a_measure_is_compared_with_the_noise_of_the_other():
    (found,) = judge([Comparison((math.log(1000),) * 5, logs(math.log(800), 10, 2))])
    assert found.outcome is Outcome.HOLDS
    assert found.effect == pytest.approx(1.25)


@pytest.mark.parametrize("seeds", [(3, 6), (5, 10)])
@pytest.mark.parametrize(("share", "other"), [(1.0, 0.0), (0.97, 0.95)])
def test_rounding_errors_are_not_noise(seeds, share, other):
    odds = [math.log(one / (1 - one)) for one in (min(max(one, 1e-4), 1 - 1e-4) for one in (share, other))]
    assert np.var([odds[0]] * 6, ddof=1) > 0 or np.var([odds[1]] * 6, ddof=1) > 0  # as numpy computes it
    (found,) = judge([Comparison((odds[0],) * seeds[0], (odds[1],) * seeds[1])])
    assert found.outcome is Outcome.CANNOT_TELL
    assert "no noise to compare the difference with" in found.why


def test_one_more_claim_makes_it_harder_for_all():
    just = Comparison(logs(0.085, 5, 1), logs(0, 10, 2))
    (alone,) = judge([just])
    among, *_ = judge([just, *(Comparison(logs(0, 5, 3 + i), logs(0, 10, 2)) for i in range(9))])
    assert alone.outcome is Outcome.HOLDS
    assert among.outcome is Outcome.CANNOT_TELL
    assert among.p == pytest.approx(10 * alone.p)
    assert among.interval == alone.interval
    assert among.why == "Significantly better on its own, but not after Holm's correction for 10 claims."
    (wild,) = judge([Comparison(logs(0, 5, 1, noise=9), logs(0, 10, 2))])
    assert wild.why == "The noise between seeds hides the answer."


def test_each_row_has_its_own_noise_as_in_scipy_s_welch_test():
    wild, calm, control = logs(0.5, 5, 1, noise=0.6), logs(-0.3, 5, 3, noise=0.02), logs(0, 10, 2, noise=0.05)
    found = judge([Comparison(row, control) for row in (wild, calm)])
    welch = [stats.ttest_ind(row, control, equal_var=False) for row in (wild, calm)]
    assert found[0].p == pytest.approx(holm([one.pvalue for one in welch])[0])
    for one, reference in zip(found, welch, strict=True):
        assert one.interval == pytest.approx(np.exp(reference.confidence_interval(0.95)))
    assert [one.outcome for one in found] == [Outcome.CANNOT_TELL, Outcome.DOES_NOT_HOLD]


def test_no_row_has_less_noise_than_its_measure_rounds_away():
    rows = (math.log(8),) * 5, (math.log(4),) * 5
    (without,) = judge([Comparison(*rows)])
    assert without.outcome is Outcome.CANNOT_TELL
    step = 1 / math.sqrt(12)
    (found,) = judge([Comparison(*rows, rounding=(step / 8, step / 4))])
    assert found.outcome is Outcome.HOLDS
    assert found.effect == pytest.approx(2)
    error = step * math.sqrt((1 / 8**2 + 1 / 4**2) / 5)
    assert math.log(found.interval[1] / 2) > stats.norm.ppf(0.975) * error
    # It adds nothing if the seeds differ by more.
    noisy = Comparison(logs(0.5, 5, 1), logs(0, 10, 2))
    rounded = Comparison(logs(0.5, 5, 1), logs(0, 10, 2), rounding=(NOISE / 2, NOISE / 2))
    assert judge([noisy]) == judge([rounded])


def test_holm_s_correction_agrees_with_his_paper_and_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.5]) == [1.0, 1.0]
    assert holm([]) == []


@pytest.mark.parametrize(
    "noises",
    [
        *(pytest.param(noises, marks=pytest.mark.full) for noises in ((0.1,) * 5, (0.1, 0.1, 0.1, 0.1, 0.5))),
        (0.02, 0.1, 0.1, 0.1, 0.4),
    ],
)
def test_if_no_method_is_better_at_most_one_study_in_twenty_claims_that_one_is(noises):
    """The family-wise error rate of four claims, including when the rows' noise differs."""
    random, wrong, studies = np.random.default_rng(0), 0, 200
    for _ in range(studies):
        control = random.normal(0, noises[0], 10)
        rows = [random.normal(0, noise, 5) for noise in noises[1:]]
        found = judge([Comparison(row, control) for row in rows])
        wrong += any(one.outcome is Outcome.HOLDS for one in found)
    assert wrong <= LEVEL * studies


def test_if_all_methods_are_ten_percent_better_at_most_one_study_in_twenty_denies_one():
    random, wrong, studies = np.random.default_rng(1), 0, 200
    for _ in range(studies):
        control = random.normal(0, 0.03, 10)
        rows = [random.normal(math.log(SMALLEST), 0.03, 5) for _ in range(4)]
        found = judge([Comparison(row, control) for row in rows])
        wrong += any(one.outcome is Outcome.DOES_NOT_HOLD for one in found)
    assert wrong <= LEVEL * studies
