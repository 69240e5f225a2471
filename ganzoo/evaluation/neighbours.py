"""Nearest neighbours in feature space, in blocks: exact, and never a whole matrix of distances.

Distances come from float32 matrix products, |a|² - 2ab + |b|² of points that were centred together: a common offset
would cost float32 its digits. Whatever rounding could decide (which neighbour is the nearer one, whether a point lies
inside a ball) is decided by distances computed pair by pair in float64. So neither blocks, threads nor the device
change a result.
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
"""Distances held at once on a CPU: 16 MB of float32. With fewer, all other points are read for a handful of rows."""
BLOCK_GPU = 2**26
GROUPS = 100
"""Parts that samples are split into for the jackknife."""
SEED = 2020
"""Of the split into groups."""
SPARE = 2
"""Neighbours beyond the k-th that are compared in float64, in case float32 put them in the wrong order."""
FOLD = 32
"""Columns among which the smallest is found first, before the k smallest of all."""
TIE = 1e-12
"""Distances that differ by less than this share are equal."""

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Manifolds:
    """Which samples lie among real images and which real images among samples, of n samples and m real images.

    Attributes:
        held: Balls around real images, to their k-th neighbours, that each sample lies in: (n,) int64.
        covered: Whether a real image's ball, to its k-th neighbour, holds a sample of each group: (groups, m) bool.
        precise: Whether each sample lies in a ball to some real image's j-th neighbour: (n,) bool.
        recalled: Whether each real image lies in a ball to the j-th neighbour of a sample of each group:
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
    """What density, coverage, precision and recall need, from one pass over all distances.

    Args:
        fake: (n, width) float32.
        real: (m, width) float32.
        coverage_radii: (m,) float64, from each real point to its k-th nearest real neighbour. A point is inside if it
            is nearer (Naeem et al. 2020, arXiv:2002.09797, equations 4 and 6).
        precision_radii: (m,) float64, to the j-th nearest. A point is inside if it is no farther (Kynkäänniemi et al.
            2019, arXiv:1904.06991, equation 1).
        recall_radii: (n,) float64, from each fake point to its j-th nearest fake neighbour.
        device: Where distances are computed.
    """
    device = _with_float64(device)
    pairs = _Pairs(fake, real, device)
    nearer = coverage_radii.to(device).square() * (1 - TIE)
    nearer[nearer == 0] = -torch.inf  # nothing is nearer than a duplicate, not even another one
    among_real, among_fake = (radii.to(device).square() * (1 + TIE) for radii in (precision_radii, recall_radii))
    # In random order: samples come sorted, and a group of similar ones would be no sample of them.
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
    """How far points are from the k-th nearest of the others.

    Args:
        features: (n, width) float32, n more than ``k``.
        k: At least 1.
        of: Indices (m,) of the points that are asked about; all where None.
        device: Where distances are computed.

    Returns:
        (m,) float64. A duplicate is a neighbour at distance 0.
    """
    of = torch.arange(len(features)) if of is None else of
    return _nearest(features[of], features, k, device, without=of)[0][:, k - 1].contiguous()


def nearest_neighbours(points: Tensor, among: Tensor, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The nearest of other points to each point.

    Args:
        points: (n, width) float32.
        among: (m, width) float32.
        device: Where distances are computed.

    Returns:
        Distances (n,) float64 and indices (n,) into ``among``.
    """
    distances, indices = _nearest(points, among, 1, device)
    return distances[:, 0], indices[:, 0]


def _nearest(
    points: Tensor, among: Tensor, k: int, device: torch.device, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distances (n, k or more), float64, rising, to the nearest of ``among`` and their indices.

    ``without`` is the index in ``among`` of each point itself, which is no neighbour.
    """
    others = len(among) - (without is not None)
    if others < k:
        sentence = f"{k} nearest neighbour{'' if k == 1 else 's'} cannot be found among {others} other images."
        raise GanzooError(sentence, "Give more images.")
    device = _with_float64(device)
    pairs = _Pairs(points, among, device)
    wanted = min(k + SPARE, len(among) - (without is not None))
    distances, indices = [], []
    for rows, gaps in pairs.blocks(torch.arange(len(points), device=device)):
        own = None if without is None else without.to(device)[rows, None]
        if own is not None:
            gaps.scatter_(1, own, torch.inf)
        found = _smallest(gaps, wanted)
        unclear = pairs.unclear(gaps, rows, found, k)
        if unclear.any():
            better = pairs.in_float64(rows[unclear])
            if own is not None:
                better.scatter_(1, own[unclear], torch.inf)
            found[unclear] = better.topk(wanted, dim=1, largest=False).indices
        found = found.sort(1).values  # by index, so that of equal ones the first comes first
        exact = pairs.exact(rows[:, None].expand_as(found).flatten(), found.flatten()).view_as(found)
        order = exact.sort(dim=1, stable=True)
        distances.append(order.values.sqrt().cpu())
        indices.append(found.gather(1, order.indices).cpu())
    return torch.cat(distances), torch.cat(indices)


def _with_float64(device: torch.device) -> torch.device:
    """The device, or the CPU in place of an accelerator without float64, such as Apple's."""
    return device if device.type in ("cpu", "cuda") else CPU


class _Pairs:
    """Squared distances between two sets of points: in blocks by float32, or of single pairs in float64."""

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
        """These rows of ``a`` and their squared distances (rows, m), block by block, up to rounding."""
        for some in torch.split(rows, self._rows):
            with full_precision(self._device):
                gaps = torch.addmm(self._b_lengths, self._a[some], self._columns, alpha=-2)
            yield some, gaps.add_(self._a_lengths[some, None])

    def below(self, gaps: Tensor, rows: Tensor, limits: Tensor) -> Tensor:
        """Which squared distances of a block are at most a limit, (rows, m) bool; float64 decides what is close.

        Args:
            gaps: As ``blocks`` gives them.
            rows: The rows they are of.
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

    def unclear(self, gaps: Tensor, rows: Tensor, found: Tensor, k: int) -> Tensor:
        """Whether rounding may have kept one of a row's k nearest from being found, (rows,) bool.

        Args:
            gaps: As ``blocks`` gives them.
            rows: The rows they are of.
            found: Columns of smallest distances, (rows, k or more). No other column is nearer than the farthest of
                them; so where that one is too far, no other has to be looked at.
            k: How many have to be among them.
        """
        doubt = 2 * self._rounding * (self._b_lengths.max() + self._a_lengths[rows])
        nearest = gaps.gather(1, found)
        unclear: Tensor = nearest.amax(1) <= nearest.kthvalue(k, dim=1).values + doubt
        return unclear

    def in_float64(self, rows: Tensor) -> Tensor:
        """Squared distances of these rows of ``a``, (rows, m), by float64 matrix products."""
        a, b = self._exact_a[rows].double() - self._centre.double(), self._centred_in_float64
        return torch.addmm(b.square().sum(1), a, b.T, alpha=-2).add_(a.square().sum(1, keepdim=True))

    @cached_property
    def _centred_in_float64(self) -> Tensor:
        return self._exact_b.double() - self._centre.double()

    def exact(self, rows: Tensor, columns: Tensor) -> Tensor:
        """Squared distances of paired points (n,), in float64, without a float64 copy of everything at once."""
        some = zip(torch.split(rows, 4096), torch.split(columns, 4096), strict=True)
        parts = [(self._exact_a[i].double() - self._exact_b[j].double()).square().sum(1) for i, j in some]
        return torch.cat(parts) if parts else torch.empty(0, dtype=torch.float64, device=self._a.device)


def _smallest(gaps: Tensor, k: int) -> Tensor:
    """The columns of each row's k smallest values, (rows, k), in no particular order."""
    rows, m = gaps.shape
    width = m // FOLD
    if width <= 2 * k:
        return gaps.topk(k, dim=1, largest=False).indices
    # The k smallest of all are among the columns that fold onto the k smallest folds, or among those left over.
    folds = gaps[:, : width * FOLD].view(rows, FOLD, width).amin(1).topk(k, dim=1, largest=False).indices
    start = torch.arange(FOLD, device=gaps.device) * width
    columns = (folds[:, :, None] + start).view(rows, -1)
    left = torch.arange(width * FOLD, m, device=gaps.device).expand(rows, -1)
    columns = torch.cat([columns, left], 1)
    return columns.gather(1, gaps.gather(1, columns).topk(k, dim=1, largest=False).indices)
