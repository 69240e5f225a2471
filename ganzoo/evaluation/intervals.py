"""Cheap 95% intervals for the mean score of sets of as many samples from the same generator; and FID-infinity.

The share of real images that samples reach has a jackknife over groups of samples (Efron and Stein 1981, The Jackknife
Estimate of Variance, which errs towards wide intervals). A bootstrap would not do: drawing with replacement leaves out
over a third of the samples, and fewer samples give smaller shares.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import stdev

import numpy as np
import torch
from torch import Tensor

from ganzoo.api.metric import Statistics
from ganzoo.errors import GanzooError
from ganzoo.reproducibility import full_precision

ROUNDS = 100  # resamplings behind a bootstrap interval
WIDE, FEW_ROUNDS = 1024, 20  # from WIDE features on, each resampling takes seconds
OUTSIDE = 0.05  # the share of resamplings outside an interval, half on each side
DEVIATIONS = 1.959963984540054  # from the mean to each end of a normal distribution's 95% interval
SEED = 2020  # torch-fidelity's own, for all random choices inside metrics

Interval = tuple[float, float]
ANY = (-math.inf, math.inf)


def around(value: float, deviation: float, bounds: Interval = ANY) -> Interval:
    """The 95% interval of a normal distribution with this mean and deviation, within the smallest and largest value."""
    return max(bounds[0], value - DEVIATIONS * deviation), min(bounds[1], value + DEVIATIONS * deviation)


def deviation(interval: Interval) -> float:
    """The standard deviation of a normal distribution with this 95% interval."""
    return (interval[1] - interval[0]) / (2 * DEVIATIONS)


def of_mean(values: Tensor, bounds: Interval) -> Interval:
    """The interval of a mean over samples (n,), n at least 2."""
    values = values.double()
    return around(float(values.mean()), float(values.std()) / math.sqrt(len(values)), bounds)


def share_interval(k: float, n: int) -> Interval:
    """Wilson's 95% interval of a share, for k of n independent samples; its width is never 0.

    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference, J. Am. Stat. Assoc. 22. An
    interval of a number of standard errors on each side has width 0 at a share of 0 or 1, which would suggest
    certainty.

    Args:
        k: How many samples count, 0 to n.
        n: At least 1.

    Raises:
        GanzooError: They are not such numbers.
    """
    if not (n >= 1 and 0 <= k <= n):
        raise GanzooError(f"{k} of {n} samples is not a share.", "Give 0 to n of n samples, with n at least 1.")
    share, spread = k / n, DEVIATIONS**2 / n
    middle = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4)
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return min(max(0.0, low), share), max(min(1.0, high), share)  # rounding could exclude a share of 0 or 1


def of_mean_over_splits(value: float, spread: float, splits: int, bounds: Interval) -> Interval:
    """The interval of a mean over parts, by Student's t: there are few. ``spread`` is without Bessel's correction."""
    from scipy.special import stdtrit  # slow to import, and only few scores need it

    freedom = splits - 1
    half = float(stdtrit(freedom, 1 - OUTSIDE / 2)) * spread / math.sqrt(freedom)
    return max(bounds[0], value - half), min(bounds[1], value + half)


def of_union(reached: Tensor) -> Interval:
    """The interval of the share of real images that any sample reaches, from those each group reaches, (groups, m)."""
    g, m = reached.shape
    once = reached & (reached.sum(0) == 1)
    value = float(reached.any(0).double().mean())
    without = value - once.double().mean(1)  # the share without each group
    deviation = math.sqrt((g - 1) / g * float((without - without.mean()).square().sum()))
    # If no group matters, for instance at a share of 0, the jackknife would suggest certainty: doubt one real image.
    return around(value, max(deviation, 1 / m), (0.0, 1.0))


def of_counts(counts: Tensor, statistic: Callable[[Tensor], float], value: float, bounds: Interval) -> Interval | None:
    """A bootstrap interval; None if all resamplings score the same, as it cannot know of classes without samples."""
    n = round(float(counts.sum()))
    if n == 0:
        return None
    # Draw counts directly: 100 rounds of a million single samples would take 800 MB.
    drawn = np.random.default_rng(SEED).multinomial(n, (counts.double() / counts.sum()).numpy(), ROUNDS)
    resampled = [statistic(one.double()) for one in torch.from_numpy(drawn)]
    return recentred(value, resampled, bounds) if min(resampled) < max(resampled) else None


def recentred(value: float, resampled: Sequence[float], bounds: Interval) -> Interval:
    """An interval with the spread of resampled sets' scores, centred on the score itself."""
    scores = torch.tensor(resampled, dtype=torch.float64)
    ends = torch.tensor([OUTSIDE / 2, 1 - OUTSIDE / 2], dtype=torch.float64)
    low, high = (scores - scores.mean()).quantile(ends).tolist()
    # The mean may lie beyond an end if nearly all sets score the same; the score itself never does.
    return max(bounds[0], value + min(low, 0.0)), min(bounds[1], value + max(high, 0.0))


POINTS = 15
SMALLEST = 5  # FID-infinity's line goes through subsets from 1/SMALLEST of the samples up to all of them


class DistanceTo:
    """The Fréchet distances of many Gaussians to a single one, whose matrix square root is computed only once.

    The trace of (ab)^½ equals that of (a^½ b a^½)^½, which is symmetric, and so its eigenvalues are much cheaper.
    """

    def __init__(self, real: Statistics) -> None:
        # For matrices of this size, torch computes eigenvalues several times faster than numpy.
        sigma = torch.from_numpy(np.array(real["sigma"]))
        values, vectors = torch.linalg.eigh(sigma)
        self._mean, self._trace = torch.from_numpy(np.array(real["mu"])), sigma.trace()
        self._root = vectors * values.clamp(min=0).sqrt() @ vectors.T

    def __call__(self, mean: Tensor, covariance: Tensor) -> float:
        """The distance of a Gaussian with this mean (width,) and covariance (width, width), both float64."""
        overlap = torch.linalg.eigvalsh(self._root @ covariance @ self._root).clamp(min=0).sqrt().sum()
        shift = (mean - self._mean).square().sum()
        return float(shift + covariance.trace() + self._trace - 2 * overlap)


def fid_interval(fake: Tensor, real: Statistics, value: float) -> tuple[float, float]:
    """A bootstrap interval of the FID; the real images are not resampled.

    A resampled set contains duplicates and therefore scores higher than the set itself; so the spread of the
    resamplings is laid around the score, not around their own mean.
    """
    distance, generator = DistanceTo(real), torch.Generator().manual_seed(SEED)
    fake = fake.double()
    n, resampled = len(fake), []
    for _ in range(FEW_ROUNDS if fake.shape[1] >= WIDE else ROUNDS):
        counts = torch.randint(n, (n,), generator=generator).bincount(minlength=n).double()
        resampled.append(distance(*_moments(fake, counts)))
    if len(resampled) == FEW_ROUNDS:
        return around(value, stdev(resampled), (0.0, math.inf))
    return recentred(value, resampled, (0.0, math.inf))


KID_IMAGES = 10_000  # on each side, at most, in a kernel distance's jackknife; that costs less than the score


def kid_interval(
    fake: Tensor, real: Tensor, value: float, of_subsets: float, device: torch.device
) -> tuple[float, float] | None:
    """A jackknife over the samples; ``of_subsets`` is the score's variance as a mean over random subsets."""
    if len(fake) < 3:
        return None
    generator = torch.Generator().manual_seed(SEED)
    a, b = (some[torch.randperm(len(some), generator=generator)[:KID_IMAGES]].to(device) for some in (fake, real))
    n, m = len(a), len(b)
    to_fake = _kernel_sums(a, a) - (a.cpu().double().square().sum(1) / a.shape[1] + 1) ** 3  # without the sample itself
    to_real = _kernel_sums(a, b)
    without = (to_fake.sum() - 2 * to_fake) / ((n - 1) * (n - 2)) - 2 * (to_real.sum() - to_real) / ((n - 1) * m)
    variance = (n - 1) / n * float((without - without.mean()).square().sum()) * n / len(fake)
    return around(value, math.sqrt(variance + of_subsets))


def _kernel_sums(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of each point of ``a`` (n, width) with all points of ``b``, summed: (n,) float64 on the CPU."""
    with full_precision(a.device):
        parts = [(some @ b.T).div_(a.shape[1]).add_(1).pow_(3).sum(1) for some in torch.split(a, 256)]
    return torch.cat(parts).cpu().double()  # some accelerators have no float64


def fid_infinity(fake: Tensor, real: Statistics) -> float:
    """The FID of infinitely many samples (Chong and Forsyth 2020, arXiv:1911.07023, algorithm 1).

    FID is too high by about a constant divided by the number of samples. So a line is fitted to the scores of subsets
    against one divided by their size; its value at zero is the score of infinitely many samples.
    """
    distance, generator = DistanceTo(real), torch.Generator().manual_seed(SEED)
    sizes = np.linspace(len(fake) / SMALLEST, len(fake), POINTS).round().astype(int)
    scores = []
    for size in sizes.tolist():
        chosen = torch.randperm(len(fake), generator=generator)[:size]
        scores.append(distance(*_moments(fake[chosen], torch.ones(size, dtype=torch.float64))))
    return float(np.polyfit(1 / sizes, scores, 1)[1])


def _moments(features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of features that occur ``counts`` times each, in float64 block by block."""
    n, width = counts.sum(), features.shape[1]
    # Subtracting a first guess of the mean saves a second pass, which would halve the speed.
    guess = features.mean(0)
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for some, times in zip(torch.split(features, 4096), torch.split(counts, 4096), strict=True):
        centred = some.double() - guess
        weighted = centred * times[:, None]
        total += weighted.sum(0)
        products.addmm_(centred.T, weighted)
    shift = total / n
    return guess + shift, products.sub_(n * torch.outer(shift, shift)).div_(n - 1)
