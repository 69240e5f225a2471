"""The rule that decides claims: its outcomes, its intervals against scipy's, and its error rate."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from ganzoo_studies.verdicts import (
    LOOKS,
    WORTH_HAVING,
    Outcome,
    bound,
    in_words,
    judge,
    look,
    without_collapsed,
)

SIMULATED = Path(__file__).parents[2] / "results" / "verdicts.json"
LOST = np.nan


def logs(mean, n=40, seed=1, noise=0.05, views=1):
    """Log scores (views, 1, n) whose first 5, 10, 20 and 40 all have this mean and deviation, nearly."""
    block = np.array([-1.0, 1, 0.5, -0.5, 0]) * noise / 0.79
    row = np.concatenate([np.roll(block, seed + i) * (1 + 0.01 * i) for i in range(n // 5)])
    return np.broadcast_to(mean + row, (views, 1, n)).copy()


def verdict(effect, claims=6, **rest):
    return judge(logs(effect, **rest), logs(0.0, seed=2, **rest), claims)


@pytest.mark.parametrize(
    ("effect", "noise", "outcome", "seeds"),
    [
        (math.log(1.5), 0.05, Outcome.HELPS, 5),
        (-math.log(1.5), 0.05, Outcome.HURTS, 5),
        (0.0, 0.03, Outcome.NO_DIFFERENCE, 5),
        (0.0, 0.08, Outcome.NO_DIFFERENCE, 10),  # frozen at the first look that decides
        (math.log(1.1), 0.08, Outcome.HELPS, 20),  # by less than 20%
        (math.log(1.1), 0.4, Outcome.OPEN, 40),
    ],
)
def test_the_interval_decides_at_the_first_look_that_it_can(effect, noise, outcome, seeds):
    found = verdict(effect, noise=noise)
    assert (found.outcome, found.seeds) == (outcome, seeds)
    assert found.effect == pytest.approx(math.exp(effect))
    low, high = found.interval.low, found.interval.high
    assert low < found.effect < high
    assert {
        Outcome.HELPS: low > 1,
        Outcome.HURTS: high < 1,
        Outcome.NO_DIFFERENCE: 1 / WORTH_HAVING < low < 1 < high < WORTH_HAVING,
        Outcome.OPEN: low < 1 < high and max(1 / low, high) > WORTH_HAVING,
    }[outcome]


def test_intervals_are_scipy_s_at_the_level_of_the_whole_study():
    random = np.random.default_rng(0)
    for _ in range(50):
        n, claims = int(random.choice(LOOKS)), int(random.integers(1, 12))
        ours = random.normal(random.normal(0, 0.3), random.uniform(0.01, 1), (2, 1, n))
        theirs = random.normal(0, random.uniform(0.01, 1), (2, 1, n))
        ours[:, 0, : n // 5] = LOST
        for paired in (False, True):
            _, effects, allowances = look(ours, theirs, bound(claims), paired=paired)
            rows = [np.concatenate([row.mean(0), row[:, 0]]) for row in (ours, theirs)]
            for i, (one, other) in enumerate(zip(*rows, strict=True)):
                if paired:
                    test = stats.ttest_rel(one, other, nan_policy="omit")
                else:
                    test = stats.ttest_ind(one, other, equal_var=False, nan_policy="omit")
                low, high = test.confidence_interval(1 - 2 * 0.025 / (claims * 4))
                assert (effects[i] - allowances[i], effects[i] + allowances[i]) == pytest.approx((low, high))


def test_many_campaigns_at_once_are_decided_like_one_after_another():
    """The simulation calls ``look`` with many campaigns, studies call ``judge`` with one."""
    random = np.random.default_rng(1)
    ours = random.normal(random.normal(0, 0.2, (1, 1, 60, 1)), 0.15, (2, 1, 60, 40))
    theirs = random.normal(0, 0.15, ours.shape)
    ours[:, random.random(ours.shape[1:]) < 0.1] = LOST
    found = [look(ours[..., :n], theirs[..., :n], bound(3))[0] for n in LOOKS]
    decided = [next((one[i] for one in found if one[i] != "open"), "open") for i in range(60)]
    alone = [judge(ours[:, :, i], theirs[:, :, i], 3).outcome.value for i in range(60)]
    assert decided == alone
    assert {"helps", "hurts", "no difference", "open"} <= set(alone)


def test_a_verdict_is_frozen_whatever_comes_later():
    ours, theirs = logs(math.log(1.5)), logs(0.0, seed=2)
    early = judge(ours, theirs, 6)
    ours[..., 5:] = -9
    assert judge(ours, theirs, 6) == early
    assert judge(ours, theirs[..., :7], 6) == early


def test_before_the_first_look_nothing_is_decided():
    for n in range(LOOKS[0]):
        found = judge(logs(9.0)[..., :n], logs(0.0, seed=2), 1)
        assert (found.outcome, found.interval, found.seeds) == (Outcome.OPEN, None, n)
        assert found.why == f"{n} of the 5 seeds of the first look are recorded."
    assert [
        judge(logs(0.0, n=n, noise=0.5), logs(0.0, n=n, seed=2, noise=0.5), 1).seeds for n in (5, 15, 20, 35, 40)
    ] == [5, 10, 20, 20, 40]


def test_a_measure_that_says_the_opposite_is_told():
    ours, theirs = logs(0.0, views=2, noise=0.03), logs(0.0, seed=2, views=2, noise=0.03)
    ours[0] += 0.6
    ours[1] -= 0.2
    found = judge(ours, theirs, 6)
    assert found.outcome is Outcome.DEPENDS
    assert found.effect == pytest.approx(math.exp(0.2))
    assert [view.effect for view in found.views] == pytest.approx([math.exp(0.6), math.exp(-0.2)])
    ours[1] += 0.2  # a measure that sees nothing contradicts nothing
    assert judge(ours, theirs, 6).outcome is Outcome.HELPS
    ours[0] -= 0.3
    ours[1] -= 0.3  # no difference by the mean, because both differ
    assert judge(ours, theirs, 6).outcome is Outcome.DEPENDS


def test_runs_that_collapsed_are_counted_and_not_averaged():
    ours, theirs = logs(0.4), logs(0.0, seed=2)
    theirs[..., 1] = -math.log(5.2)
    ours[..., 3] = 0.4 - math.log(4.8)
    ours, theirs = (without_collapsed(one, theirs, 5.0) for one in (ours, theirs))
    assert (np.isnan(ours).sum(), np.isnan(theirs).sum()) == (0, 1)
    theirs[..., 2] = LOST
    ours[..., 3] = LOST
    found = judge(ours, theirs, 6)
    assert (found.outcome, found.failed, found.runs) == (Outcome.HELPS, (1, 2), 5)
    assert found.effect == pytest.approx(math.exp(0.4), rel=0.1)


def test_a_bar_is_relative_to_the_baseline_s_first_seeds_and_may_be_absent():
    scores, baseline = logs(-math.log(20)), logs(0.0, seed=2)
    baseline[..., 5:] = -math.log(20)
    assert np.isnan(without_collapsed(scores, baseline, 5.0)).all()
    assert not np.isnan(without_collapsed(scores, baseline, None)).any()
    assert not np.isnan(without_collapsed(scores, np.full_like(baseline, LOST), 5.0)).any()
    half = np.concatenate([scores, scores])
    half[1, 0, 0] = LOST  # one of two measures is missing
    assert np.isnan(without_collapsed(half, half, 5.0)[:, 0, 0]).all()


def test_no_row_that_collapses_more_often_is_called_the_better_one():
    for sign in (1, -1):
        ours, theirs = logs(sign * 0.5), logs(0.0, seed=2)
        (ours if sign > 0 else theirs)[..., 0] = LOST
        found = judge(ours, theirs, 6)
        assert found.outcome is Outcome.OPEN
        assert found.why == "The row that scores better also collapses more often."
        (theirs if sign > 0 else ours)[..., 1] = LOST
        assert judge(ours, theirs, 6).outcome is (Outcome.HELPS if sign > 0 else Outcome.HURTS)


def test_a_row_that_lost_over_half_of_its_seeds_is_not_compared():
    ours, theirs = logs(0.5, n=10), logs(0.0, n=10, seed=2)
    theirs[..., 1:7] = LOST
    found = judge(ours, theirs, 6)
    assert (found.outcome, found.interval, found.failed) == (Outcome.OPEN, None, (0, 6))
    assert found.why == "A row lost more than half of its runs, so only their number can be compared."


def test_a_share_of_failures_is_decided_by_fisher_s_test():
    def of_failures(*lost):
        return judge(*(np.where(row, LOST, 0.0)[None] for row in lost), 2, failures=True)

    for seed in range(30):
        random = np.random.default_rng(seed)
        ours, theirs = random.random((1, 20)) < 0.1, random.random((1, 20)) < random.random()
        table = [[theirs[:, :20].sum(), (~theirs).sum()], [ours.sum(), (~ours).sum()]]
        better, worse = (stats.fisher_exact(table, alternative=side).pvalue for side in ("greater", "less"))
        level = 0.025 / (2 * 4)
        found = of_failures(ours, theirs)
        if found.seeds == 20:
            assert (found.outcome is Outcome.HELPS, found.outcome is Outcome.HURTS) == (better < level, worse < level)
    found = of_failures(np.zeros((1, 10), bool), np.ones((1, 10), bool))
    assert (found.outcome, found.seeds, found.failed, found.effect) == (Outcome.HELPS, 10, (0, 10), None)
    assert of_failures(np.zeros((1, 3), bool), np.ones((1, 3), bool)).why.startswith("3 of the 5 seeds")


@pytest.mark.parametrize(("noise", "told"), [(0.1, False), (0.4, True)])
def test_a_verdict_says_where_one_row_varies_three_times_as_much(noise, told):
    for rows in ((logs(2.0, noise=noise), logs(0.0, seed=2)), (logs(0.0, seed=2), logs(2.0, noise=noise))):
        found = judge(*rows, 6)
        assert found.outcome in (Outcome.HELPS, Outcome.HURTS)
        assert ("one row varies over three times as much between seeds" in in_words(found)) == told


def test_several_settings_are_compared_seed_by_seed():
    random = np.random.default_rng(3)
    at = np.array([0.0, 2, 4, 8])[None, :, None]
    theirs = at + random.normal(0, 0.05, (1, 4, 10))
    ours = at + 0.5 + random.normal(0, 0.05, (1, 4, 10))
    found = judge(ours, theirs, 3, paired=True)
    means = (ours - theirs)[0].mean(0)[:5]
    assert (found.outcome, found.seeds, found.runs) == (Outcome.HELPS, 5, 20)
    low, high = stats.ttest_1samp(means, 0).confidence_interval(1 - 2 * 0.025 / 12)
    assert (found.interval.low, found.interval.high) == pytest.approx((math.exp(low), math.exp(high)))
    theirs[0, 3, 0] = LOST  # only that setting is left out of the seed's means
    assert judge(ours, theirs, 3, paired=True).effect == pytest.approx(math.exp(0.5), rel=0.1)


def test_no_row_has_less_noise_than_its_measure_rounds_away():
    eight, four = np.full((1, 1, 10), math.log(8)), np.full((1, 1, 10), math.log(4))
    assert judge(eight, four, 6).interval is None
    found = judge(eight, four, 6, counts=True)
    assert (found.outcome, found.effect) == (Outcome.HELPS, pytest.approx(2))
    error = math.sqrt((1 / 8**2 + 1 / 4**2) / 12 / 5)
    assert math.log(found.interval.high / 2) > stats.norm.ppf(1 - bound(6)) * error
    assert judge(eight, eight, 6, counts=True).why.startswith("The scores do not vary between seeds")
    noisy = logs(3.0), logs(2.5, seed=2)  # it adds nothing if seeds differ by more
    assert judge(*noisy, 6) == judge(*noisy, 6, counts=True)


def test_rounding_errors_are_not_noise():
    equal = math.log(0.97 / 0.03) + np.array([[[0, 1, 2, 0, 1, 2]]]) * 4e-16
    assert np.ptp(equal) > 0
    assert judge(equal, np.zeros((1, 1, 6)), 1).interval is None


def test_the_committed_simulation_keeps_what_the_rule_promises():
    found = json.loads(SIMULATED.read_text("utf-8"))
    assert found["campaigns"] == 10_000
    assert max(one["at_most"] for one in found["wrong"] if one["held"]) < 0.055
    of_mlps = [one for one in found["power"] if one["deviation"] <= 0.05 and not one["collapsing"]]
    assert len(of_mlps) == 4
    assert min(one["decided"] for one in of_mlps) >= 0.9
    simplest = found["one_claim_at_one_look"]
    assert simplest["simulated_from"] <= simplest["by_hand"] <= simplest["simulated_to"]
