"""Whether claims hold: comparisons of log scores between seeds, corrected for how many claims are tested.

A score's logarithm turns "10% better" into the same difference at every score, and makes the noise of good and of bad
methods alike. Of a share, such as an accuracy, it is the logarithm of the odds, or near 1 nothing could be 10% better.
A claim says that one row beats another; its effect is how many times better the one is.

- **holds**: the difference is significant at 5%, by Dunnett's test (Dunnett 1955, A multiple comparison procedure for
  comparing several treatments with a control) within the study and Holm's correction (Holm 1979, A simple sequentially
  rejective multiple test procedure) across all claims.
- **does not hold**: the 95% confidence interval of the effect lies wholly below ``SMALLEST``, the effect that counts,
  which was stated beforehand, and that too stands Holm's correction.
- **cannot tell**: neither, which few seeds mostly end in.

Dunnett's test takes the noise of all rows to be the same. A method that sometimes collapses breaks that, so Welch's
test, which does not assume it, has to agree: of the two, the larger p-value and the wider interval count. So other
rows, wild ones above all, widen the interval of two; where these alone would be clear, the reason given says so.

A measure that counts may give all seeds of a row one value, and all of another row another. They are not without noise:
it was rounded away, and a row has at least as much as rounding hides.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

Array = npt.NDArray[np.float64]

LEVEL: Final = 0.05
SMALLEST: Final = 1.1
"""The effect that a claim has to have: 10% better."""
SHARED: Final = np.polynomial.hermite_e.hermegauss(32)
"""Points and weights of the integral over the control's mean."""
FEW_SEEDS: Final = 3
"""With so many or fewer, a comparison mostly cannot tell."""


class Outcome(str, Enum):
    """What a claim's test ended in."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does not hold"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True)
class Comparison:
    """The scores behind a claim.

    Attributes:
        better: Logarithms of the scores of the row that should be better, one for each seed; larger is better.
        than: Those of the row that it should beat.
        others: Those of the study's other rows that are compared with the same row.
        better_failed: Runs of the first row that have no score, because they diverged or never got there.
        than_failed: And of the second.
        better_rounding: The least standard deviation of the first row's logarithms: what its measure rounds away.
        than_rounding: And of the second's.
        trouble: A sentence if the scores cannot be compared at all.
    """

    better: Sequence[float]
    than: Sequence[float]
    others: Sequence[Sequence[float]] = ()
    better_failed: int = 0
    than_failed: int = 0
    better_rounding: float = 0.0
    than_rounding: float = 0.0
    trouble: str = ""


@dataclass(frozen=True)
class Verdict:
    """The outcome of a claim.

    Attributes:
        outcome: One of three.
        why: A sentence for the reader.
        effect: How many times better the one is than the other; None without two seeds of each.
        interval: Its 95% confidence interval within the study.
        p: Of the difference, corrected across all claims.
        seeds: Runs behind it: of the first row and of the second.
    """

    outcome: Outcome
    why: str
    effect: float | None = None
    interval: tuple[float, float] | None = None
    p: float | None = None
    seeds: tuple[int, int] = (0, 0)


@dataclass(frozen=True)
class _Tested:
    """What the tests of one comparison gave."""

    effect: float
    interval: tuple[float, float]
    own_interval: tuple[float, float]
    """By the noise of the two rows alone: Welch's."""
    p_better: float
    p_small: float


def judge(comparisons: Sequence[Comparison]) -> list[Verdict]:
    """The verdicts of all claims of all studies that share a results folder, in their order."""
    tested = [_test(one) for one in comparisons]
    done = [one for one in tested if one is not None]
    better, small = iter(holm([one.p_better for one in done])), iter(holm([one.p_small for one in done]))
    return [
        _untested(comparison) if one is None else _verdict(comparison, one, next(better), next(small))
        for comparison, one in zip(comparisons, tested, strict=True)
    ]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's correction: with these p-values, the chance of any wrong rejection at 5% is at most 5%.

    Args:
        p: Of each test, in any order.
    """
    corrected, largest = [0.0] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
        largest = max(largest, min(1.0, (len(p) - rank) * p[index]))
        corrected[index] = largest
    return corrected


def _test(comparison: Comparison) -> _Tested | None:
    """Dunnett's and Welch's tests; None where there is nothing to test."""
    better, than = np.asarray(comparison.better), np.asarray(comparison.than)
    if comparison.trouble or min(len(better), len(than)) < 2:
        return None
    effect, margin = float(better.mean() - than.mean()), math.log(SMALLEST)
    variances = [
        max(float(row.var(ddof=1)), rounding**2)
        for row, rounding in ((better, comparison.better_rounding), (than, comparison.than_rounding))
    ]
    # Where both rows are at the same limit of a measure, it cannot tell them apart.
    if max(variances) == 0 or max(abs(better - than[0]).max(), np.ptp(than)) == 0:
        return None
    sizes = [len(better), len(than)]

    others = [np.asarray(other) for other in comparison.others if len(other) >= 2]
    dunnett = Dunnett((len(better), *map(len, others)), len(than))
    squares = sum(v * (n - 1) for v, n in zip(variances, sizes, strict=True))
    squares += sum(float(((other - other.mean()) ** 2).sum()) for other in others)
    pooled = math.sqrt(squares / dunnett.freedom * sum(1 / n for n in sizes))
    allowance = dunnett.critical(1 - LEVEL) * pooled

    # By hand, since scipy's takes no variance of ours.
    parts = [v / n for v, n in zip(variances, sizes, strict=True)]
    own = math.sqrt(sum(parts))
    welch = stats.t(sum(parts) ** 2 / sum(part**2 / (n - 1) for part, n in zip(parts, sizes, strict=True)))
    own_allowance = float(welch.ppf(1 - LEVEL / 2)) * own
    allowance = max(allowance, own_allowance)
    return _Tested(
        effect,
        (effect - allowance, effect + allowance),
        (effect - own_allowance, effect + own_allowance),
        max(1 - dunnett.within(abs(effect) / pooled), 2 * float(welch.sf(abs(effect) / own))),
        max(1 - dunnett.within((margin - effect) / pooled, two_sided=False), float(welch.sf((margin - effect) / own))),
    )


@dataclass(frozen=True)
class Dunnett:
    """The distribution of the largest of several t statistics that share a control (Dunnett 1955, equations 6 and 8).

    `scipy.stats.dunnett` integrates it in all its dimensions with random points, which takes seconds where a study has
    a dozen rows, and its intervals do not always converge. The control alone ties the statistics to one another, so two
    integrals are enough: over the control's mean and over the pooled deviation.

    Attributes:
        sizes: Observations of each row.
        control: Of the control.
    """

    sizes: tuple[int, ...]
    control: int

    @property
    def freedom(self) -> int:
        """Degrees of freedom of the pooled variance."""
        return sum(self.sizes) + self.control - len(self.sizes) - 1

    def within(self, bound: float, *, two_sided: bool = True) -> float:
        """The chance that none of the statistics, or none of their absolute values, exceeds a bound."""
        shared, weight = SHARED
        deviation, share = _deviations(self.freedom)
        sizes = np.asarray(self.sizes, dtype=float)
        tie = np.sqrt(sizes / (sizes + self.control))
        own = np.sqrt(1 - tie**2)
        limit, shift = bound * deviation[:, None, None], tie * shared[:, None]
        chance = special.ndtr((limit - shift) / own)
        if two_sided:
            chance -= special.ndtr((-limit - shift) / own)
        inner = (chance.prod(axis=2) * (weight / weight.sum())).sum(axis=1)
        return float(np.clip((inner * share).sum(), 0, 1))

    def critical(self, confidence: float) -> float:
        """The bound that all absolute values stay within with that chance."""
        return _critical(self, confidence)


@cache
def _deviations(freedom: int) -> tuple[Array, Array]:
    """The pooled deviation over the true one at the points of a quadrature, and their weights."""
    uniform, share = np.polynomial.legendre.leggauss(128)
    return np.sqrt(stats.chi2.ppf((uniform + 1) / 2, freedom) / freedom), share / 2


@cache
def _critical(dunnett: Dunnett, confidence: float) -> float:
    return float(optimize.brentq(lambda bound: dunnett.within(bound) - confidence, 0.1, 1e3))


def _verdict(comparison: Comparison, tested: _Tested, p_better: float, p_small: float) -> Verdict:
    small = p_small < LEVEL and tested.interval[1] < math.log(SMALLEST) and not comparison.than_failed
    holds = p_better < LEVEL and tested.effect > 0 and not comparison.better_failed
    if small:
        outcome = Outcome.DOES_NOT_HOLD
        why = (
            "If there is an effect, it is smaller than 10%." if tested.effect > 0 else "The effect is not 10% or more."
        )
    elif holds:
        outcome, why = Outcome.HOLDS, "The difference is more than the noise between seeds."
    else:
        outcome, why = Outcome.CANNOT_TELL, _why_not(comparison, tested, p_better)
    low, high = tested.interval
    seeds = len(comparison.better), len(comparison.than)
    return Verdict(outcome, why, math.exp(tested.effect), (math.exp(low), math.exp(high)), p_better, seeds)


def _why_not(comparison: Comparison, tested: _Tested, p_better: float) -> str:
    if p_better < LEVEL and tested.effect > 0:
        return f"{_runs(comparison.better_failed)} of the method failed, which the scores of the others do not show."
    if tested.interval[1] < math.log(SMALLEST) and comparison.than_failed:
        return f"{_runs(comparison.than_failed)} of what it is compared with failed."
    failed = comparison.better_failed or comparison.than_failed
    if _is_clear(tested.own_interval) and not _is_clear(tested.interval) and not failed:
        low, high = map(math.exp, tested.own_interval)
        return (
            "Dunnett's test, which counts the noise and the number of all rows, leaves it open. These two rows alone "
            f"would put the effect between ×{low:.2f} and ×{high:.2f}."
        )
    if min(len(comparison.better), len(comparison.than)) <= FEW_SEEDS:
        return f"With {FEW_SEEDS} seeds or fewer, the noise between seeds mostly hides the answer."
    return "The noise between seeds hides the answer; more seeds would show it."


def _is_clear(interval: tuple[float, float]) -> bool:
    """Whether it has no place for both no effect and one that counts."""
    return interval[0] > 0 or interval[1] < math.log(SMALLEST)


def _untested(comparison: Comparison) -> Verdict:
    seeds = len(comparison.better), len(comparison.than)
    if comparison.trouble:
        return Verdict(Outcome.CANNOT_TELL, comparison.trouble, seeds=seeds)
    if min(seeds) < 2:
        failed = comparison.better_failed + comparison.than_failed
        why = f"{_runs(failed)} failed." if failed else "It takes two seeds of each at least."
        return Verdict(Outcome.CANNOT_TELL, why, seeds=seeds)
    # Neither row varies.
    effect = math.exp(comparison.better[0] - comparison.than[0])
    return Verdict(
        Outcome.CANNOT_TELL, "All seeds score the same, as where a measure is at its limit.", effect, seeds=seeds
    )


def _runs(n: int) -> str:
    return f"{n} run{'' if n == 1 else 's'}"
