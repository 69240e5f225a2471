"""Nearest neighbours in feature space, in blocks: exact where it matters, never a whole matrix of distances.

The sets are centred together before distances are taken as |a|² - 2ab + |b|²: a common offset would cost
float32 its digits. Distances that are reported are computed again, pair by pair, in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 2**25
"""Distances held at once: 128 MB of float32."""
ROUNDING = 1e-5
"""Distances that differ by less than this share are equal: features are float32."""


def radii(features: Tensor, k: int, of: Tensor | None = None) -> Tensor:
    """How far points are from the k-th nearest of the others.

    Args:
        features: (n, width) float32, n more than ``k``.
        k: At least 1.
        of: Indices (m,) of the points that are asked about; all where None.

    Returns:
        (m,) float64. A duplicate is a neighbour at distance 0.
    """
    of = torch.arange(len(features)) if of is None else of
    found = []
    for rows, gaps in _gaps(features[of], features):
        gaps[torch.arange(len(gaps)), of[rows]] = torch.inf  # no point is its own neighbour
        found.append(_smallest(gaps, k))
    return _apart(features[of], features[torch.cat(found)])


def nearest_neighbours(points: Tensor, among: Tensor) -> tuple[Tensor, Tensor]:
    """The nearest of other points to each point.

    Args:
        points: (n, width) float32.
        among: (m, width) float32.

    Returns:
        Distances (n,) float64 and indices (n,) into ``among``.
    """
    indices = torch.cat([_smallest(gaps, 1) for _, gaps in _gaps(points, among)])
    return _apart(points, among[indices]), indices


def density_and_coverage(fake: Tensor, real: Tensor, real_radii: Tensor, k: int) -> tuple[float, float]:
    """Density and coverage (Naeem et al. 2020, arXiv:2002.09797, equations 4 and 6).

    Args:
        fake: (n, width) float32.
        real: (m, width) float32.
        real_radii: (m,), the distance of each real point to its k-th nearest real neighbour.
        k: That many neighbours.

    Returns:
        Density: how many balls around real points a fake point lies in, divided by ``k``, on average.
        Coverage: the share of real points whose ball holds a fake point.
    """
    limits = (real_radii.to(torch.float32) * (1 - ROUNDING)).square()
    held, covered = 0, torch.zeros(len(real), dtype=torch.bool)
    for _, gaps in _gaps(fake, real):
        inside = gaps < limits
        held += int(inside.count_nonzero())
        covered |= inside.any(0)
    return held / (k * len(fake)), covered.double().mean().item()


def _gaps(points: Tensor, among: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Row numbers and squared distances (rows, m), block by block."""
    centre = among.mean(0)
    a, b = points - centre, among - centre
    lengths, columns = b.square().sum(1), b.T
    for rows in torch.split(torch.arange(len(a)), max(1, BLOCK // len(b))):
        block = a[rows]
        gaps = torch.addmm(lengths, block, columns, alpha=-2).add_(block.square().sum(1, keepdim=True))
        yield rows, gaps.clamp_(min=0)


def _smallest(gaps: Tensor, k: int) -> Tensor:
    """The column of each row's k-th smallest value."""
    if k == 1:
        return gaps.argmin(1)
    return gaps.topk(k, dim=1, largest=False).indices[:, -1]


def _apart(a: Tensor, b: Tensor) -> Tensor:
    """Distances (n,) of paired points, in float64, without a float64 copy of everything at once."""
    pairs = zip(torch.split(a, 4096), torch.split(b, 4096), strict=True)
    return torch.cat([(some.double() - other.double()).square().sum(1).sqrt() for some, other in pairs])
