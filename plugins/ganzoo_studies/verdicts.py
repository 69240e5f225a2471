"""The rule that decides claims: one interval, at four looks.

A claim says that one row scores better than another. Both are trained with the same seeds, and compared at looks of 5,
10, 20 and 40 seeds. Scores are compared by their logarithms x (of a share: of its odds), signed so that larger is
better. With means m, variances v and numbers of seeds n of the two rows, the effect and its interval are

    exp(m1 - m2),    exp(m1 - m2 -/+ t s),    s = sqrt(v1 / n1 + v2 / n2),

where t is Student's quantile at 1 - 0.025 / (claims of the study x 4 looks), with Welch's degrees of freedom
s^4 / (v1^2 / n1^2 / (n1 - 1) + v2^2 / n2^2 / (n2 - 1)) (Welch 1947, The generalization of 'Student's' problem when
several different population variances are involved). So the effect is a ratio of geometric means, or of odds. By
Bonferroni's inequality, the chance that a study makes any wrong statement is at most 5%, however the claims depend on
one another; ``benchmarks/verdicts.py`` simulates that.

- **helps**: the interval lies above 1. **hurts**: it lies below 1.
- **no difference** worth having: it lies within 1/1.2 to 1.2.
- **depends on the measure**: one of these by the mean of several measures' logarithms, but by one of the measures the
  opposite, at the same level.
- **open**: none of these yet. An open claim gets more seeds; a decided one is frozen at its look.

A run that collapsed (no score, or one beyond ``bar``) is counted, not averaged. A row that collapses more often than
its rival is never called the better one, and one that keeps under half of its seeds is not compared at all. A claim may
be about the share of collapsed runs instead: its interval is the exact one for the ratio of the odds, which excludes 1
where Fisher's one-sided test rejects at the same level.

Scores that come in pairs, such as two scores of one run, are compared by the mean and variance of their differences. A
count may be the same with all seeds: each row has at least the variance that rounding to whole numbers hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import special
from scipy.stats import contingency

from ganzoo.formatting import figure

LOOKS: Final = (5, 10, 20, 40)
"""Numbers of seeds at which claims are judged."""
WORTH_HAVING: Final = 1.2
"""The smallest effect worth having: 20% better."""
BEYOND: Final = 5.0
"""By default, a run has collapsed if its score is this many times worse than the baseline's median."""

Logs = NDArray[np.float64]


class Outcome(str, Enum):
    """What a study says about a claim."""

    HELPS = "helps"
    HURTS = "hurts"
    NO_DIFFERENCE = "no difference"
    DEPENDS = "depends on the measure"
    OPEN = "open"


@dataclass(frozen=True)
class Interval:
    """How many times better the first row is, with the interval around that."""

    effect: float
    low: float
    high: float

    @property
    def ends(self) -> tuple[float, float]:
        """Both ends."""
        return self.low, self.high


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim."""

    outcome: Outcome
    why: str = ""  # why it is open, in a sentence
    seeds: int = 0  # the look: the verdict is about this many seeds of each row
    effect: float | None = None  # how many times better the first row is; None if there is nothing to compare
    interval: Interval | None = None  # the one that decides; None before the first look
    views: tuple[Interval, ...] = ()  # by each measure alone, if the claim is about several
    failed: tuple[int, int] = (0, 0)  # collapsed runs of both rows
    runs: int = 0  # of each row
    is_uneven: bool = False  # whether the seeds of one row deviate over three times as much as the other's
    is_far: bool = False  # whether both rows are far from real images


def bound(claims: int) -> float:
    """The error probability of each end of an interval, in a study with this many claims."""
    return 0.025 / (claims * len(LOOKS))


def without_collapsed(logs: Logs, baseline: Logs, bar: float | None) -> Logs:
    """Log scores (views, ..., seeds), with NaN where a run collapsed: one view is missing, or the mean is too bad.

    ``bar`` is how many times worse than the median of the baseline's first five seeds is too bad; None for no bar.
    """
    scores = logs.mean(0)
    collapsed = np.isnan(scores)
    first = baseline.mean(0)[..., : LOOKS[0]]
    if bar is not None and not np.isnan(first).all():
        collapsed = collapsed | (scores < np.nanmedian(first, axis=-1, keepdims=True) - math.log(bar))
    return np.where(collapsed, np.nan, logs)


def look(
    ours: Logs, theirs: Logs, level: float, *, paired: bool = False, counts: bool = False
) -> tuple[NDArray[Any], Logs, Logs]:
    """One look at the scores of two rows; returns outcomes, and effects and allowances on the logarithmic scale.

    Args:
        ours: Log scores (views, settings, ..., seeds), larger is better; NaN where a run collapsed.
        theirs: The same of the row to beat, with as many seeds.
        level: From ``bound``.
        paired: Whether equal seeds are pairs. Required for several settings, whose mean is then compared.
        counts: Whether scores are logarithms of counts.

    The effect (1 + views, ...) is that of the mean over views, then that of each view; an interval is the effect ± its
    allowance, which is NaN where nothing can be compared.
    """
    lost = [np.isnan(row[0]).sum((0, -1)) for row in (ours, theirs)]
    enough = np.maximum(*lost) <= ours.shape[1] * ours.shape[-1] / 2
    if paired:
        either = np.isnan(ours + theirs)
        ours, theirs = (_mean(np.where(either, np.nan, row), 1)[0] for row in (ours, theirs))
    else:
        ours, theirs = ours[:, 0], theirs[:, 0]
    ours, theirs = (np.concatenate([row.mean(0, keepdims=True), row]) for row in (ours, theirs))
    effect, allowance = _welch(ours, theirs, level, paired=paired, counts=counts)
    allowance = np.where(enough, allowance, np.nan)
    low, high, small = effect - allowance, effect + allowance, math.log(WORTH_HAVING)
    helps = (low[0] > 0) & (lost[0] <= lost[1])
    hurts = (high[0] < 0) & (lost[1] <= lost[0])
    same = (low[0] > -small) & (high[0] < small)
    better, worse = (low[1:] > 0).any(0), (high[1:] < 0).any(0)
    depends = (helps & worse) | (hurts & better) | (same & better & worse)
    names = [Outcome.DEPENDS, Outcome.HELPS, Outcome.HURTS, Outcome.NO_DIFFERENCE]
    return np.select([depends, helps, hurts, same], [one.value for one in names], Outcome.OPEN.value), effect, allowance


def _mean(values: Logs, axis: int) -> tuple[Logs, NDArray[np.int64]]:
    """The mean of the values that are not NaN, and their number."""
    kept = ~np.isnan(values)
    n = kept.sum(axis)
    with np.errstate(invalid="ignore"):
        return np.where(kept, values, 0).sum(axis) / n, n


def _welch(ours: Logs, theirs: Logs, level: float, *, paired: bool, counts: bool) -> tuple[Logs, Logs]:
    """The difference of means over the last axis, and half the width of its interval."""
    # Rounding leaves a uniform error within a step of 1, with a variance of 1/12; the logarithm divides by the count.
    hidden = [_mean(np.exp(-2 * np.abs(row)) / 12, -1)[0] if counts else 0.0 for row in (ours, theirs)]
    rows = [(ours - theirs, hidden[0] + hidden[1])] if paired else [(ours, hidden[0]), (theirs, hidden[1])]
    effect, error, spread = np.zeros(()), np.zeros(()), np.zeros(())
    with np.errstate(invalid="ignore", divide="ignore"):
        for sign, (row, least) in zip((1, -1), rows, strict=False):
            mean, n = _mean(row, -1)
            variance = _mean((row - mean[..., None]) ** 2, -1)[0] * n / (n - 1)
            part = np.maximum(np.where(variance < 1e-18, 0, variance), least) / n  # equal values differ by rounding
            effect, error, spread = effect + sign * mean, error + part, spread + part**2 / (n - 1)
        allowance = special.stdtrit(error**2 / spread, 1 - level) * np.sqrt(error)
    highest = np.maximum(*(np.nanmax(row, -1, initial=-np.inf) for row in (ours, theirs)))
    lowest = np.minimum(*(np.nanmin(row, -1, initial=np.inf) for row in (ours, theirs)))
    return effect, np.where((error == 0) | (highest - lowest < 1e-9), np.nan, allowance)


def judge(
    ours: Logs,
    theirs: Logs,
    claims: int,
    *,
    paired: bool = False,
    counts: bool = False,
    failures: bool = False,
) -> Verdict:
    """The verdict at the first look that decides, else at the last one that the seeds reach.

    Args:
        ours: Log scores (views, settings, seeds), as for ``look``.
        theirs: The same of the row to beat; the first seeds of both are compared.
        claims: The number of claims in the study's file.
        paired: As for ``look``.
        counts: As for ``look``.
        failures: Whether the shares of collapsed runs are compared instead of scores.
    """
    seeds, verdict = min(ours.shape[-1], theirs.shape[-1]), Verdict(Outcome.OPEN)
    for n in [one for one in LOOKS if one <= seeds] or [seeds]:
        rows, runs = (ours[..., :n], theirs[..., :n]), n * ours.shape[1]
        failed = int(np.isnan(rows[0][0]).sum()), int(np.isnan(rows[1][0]).sum())
        if failures:
            outcome, intervals = _by_failures(failed, runs, bound(claims))
        else:
            outcomes, effects, allowances = look(*rows, bound(claims), paired=paired, counts=counts)
            outcome, ends = Outcome(str(outcomes)), (effects, effects - allowances, effects + allowances)
            intervals = [Interval(*one) for one in np.exp(np.stack(ends, 1)).tolist()]
        effect, is_known = intervals[0].effect, n >= LOOKS[0] and not math.isnan(intervals[0].low)
        verdict = Verdict(
            outcome if is_known else Outcome.OPEN,
            seeds=n,
            effect=effect if 0 < effect < math.inf else None,
            interval=intervals[0] if is_known else None,
            views=tuple(intervals[1:]) if is_known and len(intervals) > 2 else (),
            failed=failed,
            runs=runs,
            is_uneven=is_known
            and not (paired or failures)
            and bool(max(spread := np.nanstd(np.stack(rows).mean(1), (-2, -1), ddof=1)) > 3 * min(spread)),
        )
        if verdict.outcome is not Outcome.OPEN:
            return verdict
    return replace(verdict, why=_why(verdict, failures=failures))


def _by_failures(failed: tuple[int, int], runs: int, level: float) -> tuple[Outcome, list[Interval]]:
    """The outcome by the ratio of the odds of failing, the other row's over ours, and that with its exact interval."""
    a, b = failed
    odds = contingency.odds_ratio([[b, runs - b], [a, runs - a]])
    low, high = map(float, odds.confidence_interval(1 - 2 * level))
    outcome = Outcome.HELPS if low > 1 else Outcome.HURTS if high < 1 else Outcome.OPEN
    return outcome, [Interval(float(odds.statistic), low, high)]


def _why(verdict: Verdict, *, failures: bool) -> str:
    """Why a claim is still open, in a sentence."""
    if verdict.seeds < LOOKS[0]:
        return f"{verdict.seeds} of the {LOOKS[0]} seeds of the first look are recorded."
    if failures:
        return "So few failures may be chance."
    if max(verdict.failed) > verdict.runs / 2:
        return "A row lost more than half of its runs, so only their number can be compared."
    if verdict.interval is None:
        return "The scores do not vary between seeds, as happens when a measure is at its limit."
    if verdict.interval.low > 1 or verdict.interval.high < 1:
        return "The row that scores better also collapses more often."
    return f"After {verdict.seeds} seeds, the noise between seeds hides the answer."


def in_words(verdict: Verdict, measures: Sequence[str] = ()) -> str:
    """A verdict's effect with its interval, that by each measure, what collapsed, and why it is open."""
    parts = []
    low, high = verdict.interval.ends if verdict.interval else (0.0, math.inf)
    if verdict.effect is not None:
        parts.append(_with_interval(verdict.effect, verdict.interval))
        if verdict.outcome in (Outcome.HELPS, Outcome.HURTS) and 1 / WORTH_HAVING < low < high < WORTH_HAVING:
            parts.append("by less than 20%")
    for measure, view in zip(measures, verdict.views, strict=False):
        parts.append(f"by {measure} alone, {_with_interval(view.effect, view)}")
    if any(verdict.failed):
        ours, theirs = (f"{n} of {verdict.runs}" if n else "none" for n in verdict.failed)
        parts.append(f"fails in {ours}, the row it is compared with in {theirs}")
    if verdict.is_uneven:
        parts.append("one row varies over three times as much between seeds, so the interval is less reliable")
    return f"{'; '.join(parts)}. {verdict.why}".strip(". ") + "." if parts else verdict.why


def in_few_words(verdict: Verdict, *, failures: bool) -> str:
    """The effect without its interval: ``3.20 times worse`` or, of a claim about failures, ``8 failures to 0``."""
    return "{} failures to {}".format(*verdict.failed) if failures else times(verdict.effect or 1.0)


def _with_interval(effect: float, interval: Interval | None) -> str:
    if interval is None or math.isinf(interval.high):
        return times(effect)
    low, high = times(interval.low), times(interval.high)
    if high.endswith("worse"):
        low, high = high, low
    way = low.rpartition(" times ")[2]
    span = f"{low.removesuffix(f' times {way}')} to {high}" if high.endswith(way) else f"{low} to {high}"
    return f"{times(effect)} ({span})"


def times(effect: float) -> str:
    """An effect in words: ``3.20 times worse``."""
    factor = figure(max(effect, 1 / effect))
    return "the same" if factor == "1.00" else f"{factor} times {'better' if effect > 1 else 'worse'}"
