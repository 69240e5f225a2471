"""Whether claims hold: comparisons of log scores over seeds, corrected for the number of claims.

On the logarithm of a score, "10% better" is the same difference at every score, and the noise of good and bad methods
is comparable. For a share, such as an accuracy, the logarithm of the odds is used; otherwise nothing close to 1 could
be 10% better. A claim says that one row beats another; its effect is how many times better that row is.

- **does not hold**: the effect is significantly smaller than ``SMALLEST``, the smallest effect that counts, which was
  stated beforehand: at 5%, one-sided, by Welch's test (Welch 1947, The generalization of 'Student's' problem when
  several different population variances are involved) and Holm's correction (Holm 1979, A simple sequentially rejective
  multiple test procedure) across all claims. A claim whose effect is real but too small does not hold either.
- **holds**: otherwise, if the row is significantly better, at 5%, two-sided, by the same test and correction.
- **cannot tell**: neither, which is the usual outcome with few seeds.

Holm's correction counts all claims to be tested, run or not; those not tested yet count as tests that found nothing. So
later results only make p-values smaller: an undecided claim may be decided, and the effect of one that held may turn
out too small to count. Only adding a claim makes every verdict harder to reach.

Dunnett's test, the usual one for many rows and one control, assumes that all rows have the same noise. A method that
collapses with some seeds has many times the noise of others, and would hide what their seeds show. Welch's test
estimates each row's noise separately, and Holm's correction makes no assumption about it.

Over several settings, a claim is about settings, so settings are compared: the two rows' mean scores in each, in pairs,
by Student's t-test of their differences. Few seeds in each setting are then enough, if there are many settings. Two
scores of one run are compared in pairs too.

A measure that counts may give all seeds of one row one value, and all seeds of another row another value. Their noise
was rounded away, so each row is assumed to have at least the noise that rounding hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

LEVEL: Final = 0.05
SMALLEST: Final = 1.1
"""The smallest effect that counts: 10% better."""
FEW_SEEDS: Final = 3
"""With this many seeds or fewer, a comparison usually cannot tell."""
UNREADABLE: Final = 1000.0
"""From this factor on, the noise is reported to hide the answer."""


class Outcome(str, Enum):
    """The outcome of a claim's test."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_TELL = "cannot tell"
    WAITS = "not tested yet"


@dataclass(frozen=True)
class Comparison:
    """The scores behind a claim."""

    better: Sequence[float]
    """Logarithms of the scores of the row that should be better, one for each seed, or for each setting; larger is
    better."""
    than: Sequence[float]  # the same, of the row that it should beat
    failed: Sequence[int] = (0, 0)  # runs of both rows without a score: they diverged or never reached the threshold
    runs: Sequence[int] = (0, 0)  # number of runs of both rows, failed ones included
    rounding: Sequence[float] = (0.0, 0.0)
    """Lower bounds on the standard deviations of both rows' logarithms: the noise that their measures round away."""
    at_least: bool = False
    """Whether a score at its measure's limit, such as 0, was replaced by one with a logarithm, so that the effect is a
    lower bound."""
    paired: bool = False  # whether scores come in pairs: two scores of one run, or two rows in one setting
    of: Literal["seeds", "settings"] = "seeds"
    trouble: str = ""  # why the scores cannot be compared, in a sentence; empty if they can
    waits: str = ""  # which runs or scores are still missing, in a sentence; empty if none are

    @property
    def flatters(self) -> tuple[bool, bool]:
        """Whether each row's scores look better than they should, because failed runs are missing from them.

        In pairs, failures count only if they are a larger share of the row's runs than of the other's: otherwise,
        failing less often is one way in which the row is better.
        """
        ours, theirs = (failed / max(1, runs) for failed, runs in zip(self.failed, self.runs, strict=True))
        return (
            self.failed[0] > 0 and not (self.paired and ours <= theirs),
            self.failed[1] > 0 and not (self.paired and theirs <= ours),
        )


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim."""

    outcome: Outcome
    why: str  # the reason, in a sentence for the reader
    effect: float | None = None
    """How many times better the first row is than the second; None if scores are missing or cannot be compared, or a
    row has fewer than two."""
    interval: tuple[float, float] | None = None  # 95%, not corrected for other claims; None if nothing was tested
    p: float | None = None
    """P-value, corrected across all claims; None if nothing was tested. The null hypothesis is an effect as large as
    ``SMALLEST`` if the claim does not hold, otherwise no effect."""
    seeds: tuple[int, int] = (0, 0)  # number of scores of both rows, one for each seed or each setting
    at_least: bool = False  # whether the effect is a lower bound, see ``Comparison``


@dataclass(frozen=True)
class _Tested:
    """The results of one comparison's tests, not corrected for other claims.

    ``student`` is the distribution of ``effect / error`` without any effect.
    """

    effect: float
    error: float
    student: Any
    interval: tuple[float, float]
    p_better: float
    p_small: float


def judge(comparisons: Sequence[Comparison]) -> list[Verdict]:
    """The verdicts on all claims of all studies that share a results folder, in order."""
    tested = [_test(one) for one in comparisons]
    better = holm([1.0 if one is None else one.p_better for one in tested])
    small = holm([1.0 if one is None else one.p_small for one in tested])
    return [
        _untested(comparison) if one is None else _verdict(comparison, one, p_better, p_small, len(comparisons))
        for comparison, one, p_better, p_small in zip(comparisons, tested, better, small, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: at a level of 5%, the chance of any wrong rejection with what it returns is at most 5%."""
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def _test(comparison: Comparison) -> _Tested | None:
    """Welch's test, or Student's paired test, of both hypotheses; None if there is nothing to test or nothing varies.

    Written out here, since scipy's ``ttest_ind`` and ``ttest_rel`` do not accept a variance.
    """
    better, than = np.asarray(comparison.better), np.asarray(comparison.than)
    if comparison.trouble or comparison.waits or min(len(better), len(than)) < 2:
        return None
    effect, margin = float(better.mean() - than.mean()), math.log(SMALLEST)
    if comparison.paired:
        parts = [max(_variance(better - than), math.hypot(*comparison.rounding) ** 2) / len(better)]
    else:
        rows = zip((better, than), comparison.rounding, strict=True)
        parts = [max(_variance(row), hidden**2) / len(row) for row, hidden in rows]
    # If both rows are at the same limit of a measure, the measure cannot tell them apart.
    if sum(parts) == 0 or max(abs(better - than[0]).max(), np.ptp(than)) == 0:
        return None
    error = math.sqrt(sum(parts))
    sizes = [len(better), len(than)][: len(parts)]
    student = stats.t(sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True)))
    allowance = float(student.ppf(1 - LEVEL / 2)) * error
    return _Tested(
        effect,
        error,
        student,
        (effect - allowance, effect + allowance),
        2 * float(student.sf(abs(effect) / error)),
        float(student.sf((margin - effect) / error)),
    )


def _variance(logs: NDArray[np.float64]) -> float:
    """The variance; exactly 0 for equal values, whose rounding errors would otherwise look like noise."""
    return 0.0 if np.ptp(logs) < 1e-9 else float(logs.var(ddof=1))


def _verdict(comparison: Comparison, tested: _Tested, p_better: float, p_small: float, claims: int) -> Verdict:
    low, high = tested.interval
    p, is_clear = p_better, p_better < LEVEL
    flatters_better, flatters_than = comparison.flatters
    if p_small < LEVEL and high < math.log(SMALLEST) and not (flatters_than or comparison.at_least):
        outcome, p = Outcome.DOES_NOT_HOLD, p_small
        if not is_clear:
            why = "If it is better, then by less than 10%."
        elif tested.effect < 0:
            why = "It is worse, not better."
        else:
            why = "There is an effect, but it is smaller than 10%."
    elif is_clear and tested.effect > 0 and not flatters_better:
        noise = "from setting to setting" if comparison.of == "settings" else "between seeds"
        outcome, why = Outcome.HOLDS, f"The difference is larger than the noise {noise}."
        if not (np.ptp(comparison.better) or np.ptp(comparison.than)):
            why = f"Neither row varies {noise}; their noise is assumed to be what rounding to whole numbers can hide."
    else:
        outcome, why = Outcome.CANNOT_TELL, _why_not(comparison, tested, p_better, claims)
    seeds = len(comparison.better), len(comparison.than)
    interval = (math.exp(low), math.exp(high))
    return Verdict(outcome, why, math.exp(tested.effect), interval, p, seeds, at_least=comparison.at_least)


def _why_not(comparison: Comparison, tested: _Tested, p_better: float, claims: int) -> str:
    if p_better < LEVEL and tested.effect > 0:
        return f"{_without(comparison.failed[0], ' of the method')}, which the scores of the others do not show."
    is_small = tested.interval[1] < math.log(SMALLEST)
    if is_small and comparison.flatters[1]:
        return f"{_without(comparison.failed[1], ' of the row it is compared with')}."
    if is_small and comparison.at_least:
        return "The effect is only a lower bound, since a score was at its measure's limit."
    corrected = f"but not after Holm's correction for {claims} claims."
    if not any(comparison.flatters):
        if tested.interval[0] > 0:
            return f"Significantly better on its own, {corrected}"
        if tested.interval[1] < 0:
            return f"Significantly worse on its own, {corrected}"
        if is_small:
            return f"Significantly less than 10% better on its own, {corrected}"
    noise = "from setting to setting" if comparison.of == "settings" else "between seeds"
    # An effect of this size is significant after the correction, whatever the other claims' p-values are.
    shows = tested.error * float(tested.student.isf(LEVEL / 2 / claims))
    if shows < math.log(UNREADABLE):
        why = f"given the noise {noise}, a measured effect above ×{math.exp(shows):.3g} would have been significant."
    else:
        why = f"the noise {noise} hides the answer."
    if comparison.failed[0] and comparison.of == "seeds":
        return f"{_without(comparison.failed[0], ' of the method')}, and {why}"
    return why[0].upper() + why[1:]


def _untested(comparison: Comparison) -> Verdict:
    seeds = len(comparison.better), len(comparison.than)
    if comparison.waits:
        return Verdict(Outcome.WAITS, comparison.waits, seeds=seeds)
    if comparison.trouble:
        return Verdict(Outcome.CANNOT_TELL, comparison.trouble, seeds=seeds)
    if min(seeds) < 2:
        failed = sum(comparison.failed)
        why = f"{_without(failed)}." if failed else f"Each row needs at least two {comparison.of}."
        return Verdict(Outcome.CANNOT_TELL, why, seeds=seeds)
    # Neither row varies, or all pairs differ by the same amount.
    difference = comparison.better[0] - comparison.than[0]
    why = f"All {comparison.of} score the same, as happens when a measure is at its limit."
    if comparison.at_least and not difference:
        why = "A score at its measure's limit was replaced by one that has a logarithm, which hides the difference."
    elif difference and comparison.paired:
        why = "All pairs differ by the same factor, so there is no noise to compare it with."
    elif difference:
        why = f"Neither row varies between {comparison.of}, so there is no noise to compare the difference with."
    return Verdict(Outcome.CANNOT_TELL, why, math.exp(difference), seeds=seeds, at_least=comparison.at_least)


def _without(n: int, whose: str = "") -> str:
    runs = f"{n} run{'' if n == 1 else 's'}{whose} {'has' if n == 1 else 'have'}"
    return f"{runs} no score (failed, or never reached the threshold)"
