"""Exact nearest neighbours in feature space, block by block: the complete distance matrix is never held in memory.

Distances come from float32 matrix products, |a|² - 2ab + |b|², of points that were centred together, because a common
offset would cost float32 digits. Whatever rounding could decide (which neighbour is nearer, whether a point is inside a
ball) is decided by distances computed pair by pair in float64. So results do not depend on blocks, threads or device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.reproducibility import full_precision

BLOCK = 2**22
"""Distances per block on a CPU: 16 MB of float32. Smaller blocks would read all other points for only a few rows."""
BLOCK_GPU = 2**26
GROUPS = 100
"""Groups that samples are split into for the jackknife."""
SEED = 2020
"""Seeds the split into groups."""
SPARE = 2
"""Neighbours beyond the k-th to compare in float64 too, in case float32 put them in the wrong order."""
FOLD = 32
"""Groups of this many columns are reduced to their minima first, before the k smallest of all are found."""
TIE = 1e-12
"""Squared distances that differ by less than this fraction count as equal."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Manifolds:
    """Which of n samples lie in balls around real images, and which of m real images in balls around samples.

    Attributes:
        held: The number of real images' balls, reaching to their k-th neighbours, that hold each sample: (n,) int64.
        covered: Whether each real image's ball, to its k-th neighbour, holds a sample of each group: (groups, m) bool.
        precise: Whether each sample lies in the ball of some real image, to its j-th neighbour: (n,) bool.
        recalled: Whether each real image lies in the ball of a sample of each group, to its j-th neighbour:
            (groups, m) bool.
    """

    held: Tensor
    covered: Tensor
    precise: Tensor
    recalled: Tensor


def manifolds(
    fake: Tensor,
    real: Tensor,
    *,
    coverage_radii: Tensor,
    precision_radii: Tensor,
    recall_radii: Tensor,
    device: torch.device = CPU,
) -> Manifolds:
    """The inputs of density, coverage, precision and recall, from one pass over all distances.

    Args:
        fake: (n, width) float32.
        real: (m, width) float32.
        coverage_radii: (m,) float64, from each real point to its k-th nearest real neighbour. A point is inside if it
            is strictly nearer (Naeem et al. 2020, arXiv:2002.09797, equations 4 and 6).
        precision_radii: (m,) float64, from each real point to its j-th nearest. A point is inside if it is no farther
            (Kynkäänniemi et al. 2019, arXiv:1904.06991, equation 1).
        recall_radii: (n,) float64, from each fake point to its j-th nearest fake neighbour, with the same rule.
        device: The device to compute distances on.
    """
    device = _with_float64(device)
    pairs = _Pairs(fake, real, device)
    nearer = coverage_radii.to(device).square() * (1 - TIE)
    nearer[nearer == 0] = -torch.inf  # nothing is nearer than a duplicate, not even another duplicate
    among_real, among_fake = (radii.to(device).square() * (1 + TIE) for radii in (precision_radii, recall_radii))
    # Groups are random: samples come sorted, and a group of similar ones would not represent them.
    order = torch.randperm(len(fake), generator=torch.Generator().manual_seed(SEED))
    groups = order.to(device).tensor_split(min(GROUPS, len(fake)))
    held = torch.zeros(len(fake), dtype=torch.int64, device=device)
    precise = torch.zeros(len(fake), dtype=torch.bool, device=device)
    covered, recalled = (torch.zeros(len(groups), len(real), dtype=torch.bool, device=device) for _ in range(2))
    for number, group in enumerate(groups):
        for rows, gaps in pairs.blocks(group):
            inside = pairs.below(gaps, rows, nearer)
            held[rows] = inside.sum(1)
            covered[number] |= inside.any(0)
            precise[rows] = pairs.below(gaps, rows, among_real).any(1)
            recalled[number] |= pairs.below(gaps, rows, among_fake[rows, None]).any(0)
    return Manifolds(held.cpu(), covered.cpu(), precise.cpu(), recalled.cpu())


def radii(features: Tensor, k: int, of: Tensor | None = None, device: torch.device = CPU) -> Tensor:
    """The distance from each point to the k-th nearest of the others.

    Args:
        features: (n, width) float32, n more than ``k``.
        k: At least 1.
        of: Indices (m,) of the points to compute it for; None means all.
        device: The device to compute distances on.

    Returns:
        (m,) float64. A duplicate is a neighbour at distance 0.
    """
    of = torch.arange(len(features)) if of is None else of
    return _nearest(features[of], features, k, device, without=of)[0][:, k - 1].contiguous()


def nearest_neighbours(points: Tensor, among: Tensor, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The nearest neighbour of each point among other points.

    Args:
        points: (n, width) float32.
        among: (m, width) float32.
        device: The device to compute distances on.

    Returns:
        Distances (n,) float64 and indices (n,) into ``among``.
    """
    distances, indices = _nearest(points, among, 1, device)
    return distances[:, 0], indices[:, 0]


def _nearest(
    points: Tensor, among: Tensor, k: int, device: torch.device, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distances (n, k or more), float64, ascending, to the nearest points of ``among``, and the indices of these.

    ``without`` holds the index in ``among`` of each point itself, which does not count as a neighbour.
    """
    others = len(among) - (without is not None)
    if others < k:
        sentence = f"{k} nearest neighbour{'' if k == 1 else 's'} cannot be found among {others} other images."
        raise GanzooError(sentence, "Provide more images.")
    device = _with_float64(device)
    pairs = _Pairs(points, among, device)
    candidates = min(k + SPARE, others)
    distances, indices = [], []
    for rows, gaps in pairs.blocks(torch.arange(len(points), device=device)):
        own = None if without is None else without.to(device)[rows, None]
        if own is not None:
            gaps.scatter_(1, own, torch.inf)
        columns = _smallest(gaps, candidates)
        unclear = pairs.unclear(gaps, rows, columns, k)
        if unclear.any():
            better = pairs.in_float64(rows[unclear])
            if own is not None:
                better.scatter_(1, own[unclear], torch.inf)
            columns[unclear] = better.topk(candidates, dim=1, largest=False).indices
        columns = columns.sort(1).values  # by index, so that ties keep their order
        exact = pairs.exact(rows[:, None].expand_as(columns).flatten(), columns.flatten()).view_as(columns)
        order = exact.sort(dim=1, stable=True)
        distances.append(order.values.sqrt().cpu())
        indices.append(columns.gather(1, order.indices).cpu())
    return torch.cat(distances), torch.cat(indices)


def _with_float64(device: torch.device) -> torch.device:
    """The device, or the CPU if the device is an accelerator that may lack float64, as Apple's does."""
    return device if device.type in ("cpu", "cuda") else CPU


class _Pairs:
    """Squared distances between two sets of points: of blocks in float32, or of single pairs in float64."""

    def __init__(self, a: Tensor, b: Tensor, device: torch.device) -> None:
        self._device = device
        self._exact_a, self._exact_b = a.to(device), b.to(device)
        self._centre = centre = self._exact_b.mean(0)
        self._a, centred = self._exact_a - centre, self._exact_b - centre
        self._columns = centred.T.contiguous()
        self._a_lengths, self._b_lengths = self._a.square().sum(1), centred.square().sum(1)
        self._rounding = torch.finfo(torch.float32).eps * (4 + a.shape[1] ** 0.5)
        block = BLOCK_GPU if device.type == "cuda" else BLOCK
        self._rows = max(1, block // len(b))

    def blocks(self, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """The given rows of ``a``, block by block, with their squared distances (rows, m), exact up to rounding."""
        for some in torch.split(rows, self._rows):
            with full_precision(self._device):
                gaps = torch.addmm(self._b_lengths, self._a[some], self._columns, alpha=-2)
            yield some, gaps.add_(self._a_lengths[some, None])

    def below(self, gaps: Tensor, rows: Tensor, limits: Tensor) -> Tensor:
        """Which squared distances of a block are at most a limit, (rows, m) bool; float64 decides close cases.

        Args:
            gaps: As returned by ``blocks``.
            rows: The rows that they belong to.
            limits: (m,), or (rows, 1), float64.
        """
        doubt = self._rounding * (self._b_lengths + self._a_lengths[rows].max())
        surely: Tensor
        perhaps: Tensor
        surely, perhaps = gaps < limits.float() - doubt, gaps <= limits.float() + doubt
        if surely.sum() != perhaps.sum():
            row, column = (surely ^ perhaps).nonzero(as_tuple=True)
            bound = limits[column] if limits.dim() == 1 else limits[row, 0]
            surely[row, column] = self.exact(rows[row], column) <= bound
        return surely

    def unclear(self, gaps: Tensor, rows: Tensor, columns: Tensor, k: int) -> Tensor:
        """Whether rounding may have hidden one of a row's k nearest neighbours, (rows,) bool.

        Args:
            gaps: As returned by ``blocks``.
            rows: The rows that they belong to.
            columns: Those of the smallest distances, (rows, k or more). No other column is nearer than the farthest of
                them, so if even that one is clearly too far, the others need not be checked.
            k: How many neighbours must be among them.
        """
        doubt = 2 * self._rounding * (self._b_lengths.max() + self._a_lengths[rows])
        nearest = gaps.gather(1, columns)
        unclear: Tensor = nearest.amax(1) <= nearest.kthvalue(k, dim=1).values + doubt
        return unclear

    def in_float64(self, rows: Tensor) -> Tensor:
        """Squared distances of the given rows of ``a``, (rows, m), from float64 matrix products."""
        a, b = self._exact_a[rows].double() - self._centre.double(), self._centred_in_float64
        return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1, keepdim=True))

    @cached_property
    def _centred_in_float64(self) -> Tensor:
        return self._exact_b.double() - self._centre.double()

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Squared distances of paired points (n,), in float64, without a float64 copy of all points."""
        some = zip(torch.split(rows, 4096), torch.split(columns, 4096), strict=True)
        return torch.cat([(self._exact_a[i].double() - self._exact_b[j].double()).square().sum(1) for i, j in some])


def _smallest(gaps: Tensor, k: int) -> Tensor:
    """The columns of each row's k smallest values, (rows, k), in no particular order."""
    rows, m = gaps.shape
    width = m // FOLD
    if width <= 2 * k:
        return gaps.topk(k, dim=1, largest=False).indices
    # The k smallest of all are among the columns of the k folds with the smallest minima, or among the remaining ones.
    folds = gaps[:, : width * FOLD].view(rows, FOLD, width).amin(1).topk(k, dim=1, largest=False).indices
    start = torch.arange(FOLD, device=gaps.device) * width
    columns = (folds[:, :, None] + start).view(rows, -1)
    left = torch.arange(width * FOLD, m, device=gaps.device).expand(rows, -1)
    columns = torch.cat([columns, left], 1)
    return columns.gather(1, gaps.gather(1, columns).topk(k, dim=1, largest=False).indices)
