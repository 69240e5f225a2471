"""How sure a Fréchet distance is, and what it would be with infinitely many samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from ganzoo.evaluation import intervals

if TYPE_CHECKING:
    from torch import Tensor

    from ganzoo.api.extractor import Statistics

POINTS = 15
SMALLEST = 5
"""The line of FID-infinity goes through sets of 1/SMALLEST of the samples up to all of them."""
SEED = 2020
WHOLE = 2**24
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
    fake = fake.double() if fake.numel() <= WHOLE else fake
    n, found = len(fake), []
    for _ in range(intervals.ROUNDS):
        counts = torch.randint(n, (n,), generator=generator).bincount(minlength=n).double()
        found.append(distance(*_moments(fake, counts)))
    return intervals.laid_around(value, found)


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
