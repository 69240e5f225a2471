"""How far scores would move with other samples of the same generator, as many: 95% intervals that cost little.

A mean over samples has the interval of a mean. A statistic of class counts is computed again for counts drawn anew.
The share of real images that some sample reaches is computed again without each group of samples in turn (a jackknife:
Efron and Stein 1981, The Jackknife Estimate of Variance, which errs towards wide intervals): drawn anew with
replacement, a third of the samples would be missing, and such shares fall with the number of samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

ROUNDS = 100
"""Resamplings behind a bootstrap interval."""
OUTSIDE = 0.05
"""The share of resamplings that an interval leaves out, half on each side."""
DEVIATIONS = 1.959963984540054
"""Standard deviations to each end of a normal distribution's 95%."""
SEED = 2020

Interval = tuple[float, float]
ANY = (-math.inf, math.inf)


def around(value: float, deviation: float, bounds: Interval = ANY) -> Interval:
    """The interval of a normal distribution, within bounds.

    Args:
        value: Its mean.
        deviation: Its standard deviation.
        bounds: The least and the largest value there is.
    """
    low, high = bounds
    return max(low, value - DEVIATIONS * deviation), min(high, value + DEVIATIONS * deviation)


def deviation(interval: Interval) -> float:
    """The standard deviation of a normal distribution with this 95% interval."""
    return (interval[1] - interval[0]) / (2 * DEVIATIONS)


def of_mean(values: Tensor, bounds: Interval) -> Interval:
    """Of a mean over samples.

    Args:
        values: (n,) of any type, n at least 2.
        bounds: As for ``around``.
    """
    values = values.double()
    return around(float(values.mean()), float(values.std()) / math.sqrt(len(values)), bounds)


def of_union(reached: Tensor) -> Interval:
    """Of the share of real images that at least one sample reaches.

    Args:
        reached: Whether a sample of each random group reaches each real image, (groups, m) bool.
    """
    g = len(reached)
    once = reached & (reached.sum(0) == 1)
    value = float(reached.any(0).double().mean())
    if g < 2:
        return value, value
    without = value - once.double().mean(1)  # the share without each group
    variance = (g - 1) / g * float((without - without.mean()).square().sum())
    return around(value, math.sqrt(variance), (0.0, 1.0))


def of_counts(counts: Tensor, statistic: Callable[[Tensor], float], value: float, bounds: Interval) -> Interval:
    """Of a statistic of class counts, by a bootstrap.

    Args:
        counts: Samples in each class, (classes,).
        statistic: From counts, float64 (classes,), to a number.
        value: That of ``counts``.
        bounds: As for ``around``.
    """
    n = int(counts.sum())
    if n == 0:
        return value, value
    generator = torch.Generator().manual_seed(SEED)
    drawn = torch.multinomial(counts.double(), n * ROUNDS, replacement=True, generator=generator).view(ROUNDS, n)
    return laid_around(value, [statistic(one.bincount(minlength=len(counts)).double()) for one in drawn], bounds)


def laid_around(value: float, resampled: Sequence[float], bounds: Interval = ANY) -> Interval:
    """The spread of resampled scores around the score itself.

    Args:
        value: The score.
        resampled: The scores of sets that were drawn from the samples.
        bounds: As for ``around``.
    """
    found = torch.tensor(resampled, dtype=torch.float64)
    ends = torch.tensor([OUTSIDE / 2, 1 - OUTSIDE / 2], dtype=torch.float64)
    low, high = (found - found.mean()).quantile(ends).tolist()
    return max(bounds[0], value + low), min(bounds[1], value + high)
