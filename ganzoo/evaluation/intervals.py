"""95% confidence intervals, which cost little: of the mean score of sets of as many samples from the same generator.
And what a Fréchet distance would be with infinitely many samples.

A mean over samples has the interval of a mean, and a share of them Wilson's. A statistic of class counts is computed
again for counts drawn anew. The share of real images that some sample reaches is computed again without each group of
samples in turn (a jackknife: Efron and Stein 1981, The Jackknife Estimate of Variance, which errs towards wide
intervals): drawn anew with replacement, a third of the samples would be missing, and such shares fall with the number
of samples. A kernel distance has a jackknife over single samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import stdev
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ganzoo.evaluation import torch_fidelity
from ganzoo.reproducibility import full_precision

if TYPE_CHECKING:
    from ganzoo.api.metric import Statistics


ROUNDS = 100
"""Resamplings behind a bootstrap interval."""
WIDE, FEW_ROUNDS = 1024, 20
"""From so many features on, a resampling takes seconds, and there are fewer."""
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


def share_interval(k: float, n: int) -> Interval:
    """Of a share of n independent samples, k of which count: Wilson's 95% interval, whose width is never 0.

    Wilson 1927, Probable Inference, the Law of Succession, and Statistical Inference, J. Am. Stat. Assoc. 22. An
    interval of standard errors to each side has no width at a share of 0 or 1, where it would promise certainty.

    Args:
        k: How many count, 0 to n.
        n: At least 1.
    """
    share, spread = k / n, DEVIATIONS**2 / n
    middle = share + spread / 2
    half = math.sqrt(spread * share * (1 - share) + spread**2 / 4)
    low, high = (middle - half) / (1 + spread), (middle + half) / (1 + spread)
    return min(max(0.0, low), share), max(min(1.0, high), share)  # rounding could leave out a share of 0 or 1


def of_mean_over_splits(value: float, spread: float, splits: int, bounds: Interval) -> Interval:
    """Of the mean of a statistic over parts of the samples, by Student's t distribution: the parts are few.

    Args:
        value: The mean.
        spread: The standard deviation over the parts, as of a whole population.
        splits: Number of parts, at least 2.
        bounds: As for ``around``.
    """
    from scipy.special import stdtrit  # slow to import, and few scores need it

    freedom = splits - 1
    half = float(stdtrit(freedom, 1 - OUTSIDE / 2)) * spread / math.sqrt(freedom)
    return max(bounds[0], value - half), min(bounds[1], value + half)


def of_union(reached: Tensor) -> Interval:
    """Of the share of real images that at least one sample reaches.

    Args:
        reached: Whether a sample of each random group reaches each real image, (groups, m) bool.
    """
    g, m = reached.shape
    once = reached & (reached.sum(0) == 1)
    value = float(reached.any(0).double().mean())
    without = value - once.double().mean(1)  # the share without each group
    deviation = math.sqrt((g - 1) / g * float((without - without.mean()).square().sum()))
    # Where no group matters (at a share of 0, say), the jackknife promises certainty: one real image remains in doubt.
    return around(value, max(deviation, 1 / m), (0.0, 1.0))


def of_counts(counts: Tensor, statistic: Callable[[Tensor], float], value: float, bounds: Interval) -> Interval | None:
    """Of a statistic of class counts, by a bootstrap.

    None where every resampling scores the same: a bootstrap does not know of classes that no sample fell into.

    Args:
        counts: Samples in each class, (classes,).
        statistic: From counts, float64 (classes,), to a number.
        value: That of ``counts``.
        bounds: As for ``around``.
    """
    n = round(float(counts.sum()))
    if n == 0:
        return None
    shares = counts.double() / counts.sum()
    # Counts at once: drawn sample by sample, 100 rounds of a million samples take 800 MB.
    drawn = np.random.default_rng(SEED).multinomial(n, shares.numpy(), ROUNDS)
    found = [statistic(one.double()) for one in torch.from_numpy(drawn)]
    return laid_around(value, found, bounds) if min(found) < max(found) else None


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
    # The mean is beyond an end where nearly all sets score the same; the score itself never is.
    return max(bounds[0], value + min(low, 0.0)), min(bounds[1], value + max(high, 0.0))


POINTS = 15
SMALLEST = 5
"""The line of FID-infinity goes through sets of 1/SMALLEST of the samples up to all of them."""
FLOAT64_VALUES = 2**24
"""Up to so many values, all features are held in float64 at once."""


class DistanceTo:
    """The Fréchet distance to one Gaussian, for many others: its square root is taken once.

    Equal to ``torch_fidelity.frechet_distance`` up to rounding: the trace of (ab)^½ is that of (a^½ b a^½)^½, whose
    matrix is symmetric, and eigenvalues of symmetric matrices are much cheaper.

    Args:
        real: Its mean and covariance.
    """

    def __init__(self, real: Statistics) -> None:
        # torch's eigenvalues of matrices of this size come several times faster than numpy's.
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
    """How far the FID would move with other samples of the same generator, as many: a bootstrap interval.

    A resampled set holds duplicates and so scores higher than the set itself; the spread of the resamplings is
    therefore laid around the score, not around their own mean.

    Args:
        fake: (n, width) float32.
        real: Of the real images, which stay as they are.
        value: Their FID.

    Returns:
        The ends of the 95% interval.
    """
    distance, generator = DistanceTo(real), torch.Generator().manual_seed(SEED)
    fake = fake.double() if fake.numel() <= FLOAT64_VALUES else fake
    n, found = len(fake), []
    for _ in range(FEW_ROUNDS if fake.shape[1] >= WIDE else ROUNDS):
        counts = torch.randint(n, (n,), generator=generator).bincount(minlength=n).double()
        found.append(distance(*_moments(fake, counts)))
    if len(found) == FEW_ROUNDS:
        return around(value, stdev(found), (0.0, math.inf))
    return laid_around(value, found, (0.0, math.inf))


KID_IMAGES = 10_000
"""The most images on each side that the jackknife of a kernel distance uses; that is less work than the score."""


def kid_interval(
    fake: Tensor, real: Tensor, value: float, spread: float, device: torch.device
) -> tuple[float, float] | None:
    """How far the kernel distance would move with other samples of the same generator, as many.

    The real images stay as they are. The kernel distance of all pairs is computed again without each sample in turn.
    That of ``torch_fidelity.kernel_distance`` is a mean over random subsets, which adds the spread of such a mean.

    Args:
        fake: (n, width) float32.
        real: (m, width) float32.
        value: Their kernel distance.
        spread: Its standard deviation over the subsets.
        device: Where kernels are computed.

    Returns:
        The ends of the 95% interval; None for fewer than three samples.
    """
    if len(fake) < 3:
        return None
    generator = torch.Generator().manual_seed(SEED)
    a, b = (some[torch.randperm(len(some), generator=generator)[:KID_IMAGES]].to(device) for some in (fake, real))
    n, m = len(a), len(b)
    to_fake = _kernel_sums(a, a) - (a.cpu().double().square().sum(1) / a.shape[1] + 1) ** 3  # without the sample itself
    to_real = _kernel_sums(a, b)
    without = (to_fake.sum() - 2 * to_fake) / ((n - 1) * (n - 2)) - 2 * (to_real.sum() - to_real) / ((n - 1) * m)
    variance = (n - 1) / n * float((without - without.mean()).square().sum()) * n / len(fake)
    return around(value, math.sqrt(variance + spread**2 / torch_fidelity.KID_SUBSETS))


def _kernel_sums(a: Tensor, b: Tensor) -> Tensor:
    """The kernel of each point of ``a`` (n, width) with all points of ``b``, summed: (n,) float64 on the CPU."""
    with full_precision(a.device):
        parts = [(some @ b.T).div_(a.shape[1]).add_(1).pow_(3).sum(1) for some in torch.split(a, 256)]
    return torch.cat(parts).cpu().double()  # some accelerators have no float64


def fid_infinity(fake: Tensor, real: Statistics) -> float:
    """The FID of infinitely many samples (Chong and Forsyth 2020, arXiv:1911.07023, algorithm 1).

    FID is too high by about a constant divided by the number of samples: a line through the scores of subsets,
    over one divided by their size, meets zero at the score of infinitely many. The number of real images stays.

    Args:
        fake: (n, width) float32.
        real: Of the real images.

    Returns:
        About zero or more; less than the FID.
    """
    distance, generator = DistanceTo(real), torch.Generator().manual_seed(SEED)
    sizes = np.linspace(len(fake) / SMALLEST, len(fake), POINTS).round().astype(int)
    scores = []
    for size in sizes.tolist():
        chosen = torch.randperm(len(fake), generator=generator)[:size]
        scores.append(distance(*_moments(fake[chosen], torch.ones(size, dtype=torch.float64))))
    return float(np.polyfit(1 / sizes, scores, 1)[1])


def _moments(features: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and covariance of features that are there ``counts`` times each, in float64 block by block."""
    n, width = counts.sum(), features.shape[1]
    # A first guess of the mean is taken off, so that the second pass, which would halve the speed, is not needed.
    guess = features.mean(0)
    total, products = torch.zeros(width, dtype=torch.float64), torch.zeros(width, width, dtype=torch.float64)
    for some, times in zip(torch.split(features, 4096), torch.split(counts, 4096), strict=True):
        centred = some.double() - guess
        weighted = centred * times[:, None]
        total += weighted.sum(0)
        products.addmm_(centred.T, weighted)
    shift = total / n
    return guess + shift, products.sub_(n * torch.outer(shift, shift)).div_(n - 1)
