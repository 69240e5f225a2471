"""How sure a Fréchet distance is, and what it would be with infinitely many samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor

    from ganzoo.api.extractor import Statistics

    Matrix = np.ndarray[Any, np.dtype[np.float64]]

ROUNDS = 100
"""Resamplings behind an interval."""
OUTSIDE = 0.05
"""The share of resamplings that an interval leaves out, half on each side."""
POINTS = 15
SMALLEST = 5
"""The line of FID-infinity goes through sets of 1/SMALLEST of the samples up to all of them."""
SEED = 2020


class DistanceTo:
    """The Fréchet distance to one Gaussian, for many others: its square root is taken once.

    Equal to ``torch_fidelity.frechet_distance`` up to rounding: the trace of (ab)^½ is that of (a^½ b a^½)^½, whose
    matrix is symmetric, and eigenvalues of symmetric matrices are much cheaper.

    Args:
        real: Its mean and covariance.
    """

    def __init__(self, real: Statistics) -> None:
        values, vectors = np.linalg.eigh(real["sigma"])
        self._mean, self._trace = real["mu"], np.trace(real["sigma"])
        self._root = vectors * np.sqrt(values.clip(min=0)) @ vectors.T

    def __call__(self, mean: Matrix, covariance: Matrix) -> float:
        """The distance of a Gaussian with this mean (width,) and covariance (width, width)."""
        overlap = np.linalg.eigvalsh(self._root @ covariance @ self._root)
        shift = np.square(mean - self._mean).sum()
        return float(shift + np.trace(covariance) + self._trace - 2 * np.sqrt(overlap.clip(min=0)).sum())


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
    n, found = len(fake), np.empty(ROUNDS)
    for index in range(ROUNDS):
        counts = torch.randint(n, (n,), generator=generator).bincount(minlength=n).double()
        found[index] = distance(*_moments(fake, counts))
    low, high = np.quantile(found - found.mean(), [OUTSIDE / 2, 1 - OUTSIDE / 2])
    return value + float(low), value + float(high)


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


def _moments(features: Tensor, counts: Tensor) -> tuple[Matrix, Matrix]:
    """Mean and covariance of features that are there ``counts`` times each, in float64 block by block."""
    n, width = int(counts.sum()), features.shape[1]
    blocks = list(zip(torch.split(features, 4096), torch.split(counts, 4096), strict=True))
    mean = torch.zeros(width, dtype=torch.float64)
    for some, times in blocks:
        mean += times @ some.double()
    mean /= n
    products = torch.zeros(width, width, dtype=torch.float64)
    for some, times in blocks:
        centred = some.double() - mean
        products.addmm_(centred.T, centred * times[:, None])
    return mean.numpy(), products.div_(n - 1).numpy()
