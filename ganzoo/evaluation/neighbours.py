"""Exact nearest neighbours in feature space, in float64, block by block: the whole distance matrix is never in memory.

Points are centred, because a common offset would cost digits; those that a matrix product cannot tell apart count as
equally near, and returned distances are computed pair by pair. So results do not depend on blocks, threads or device.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ganzoo.errors import GanzooError

BLOCK = 2**21  # distances on a CPU: 16 MB; smaller blocks would read all other points for only a few rows
BLOCK_GPU = 2**25
GROUPS = 100  # of samples, for the jackknife
SEED = 2020  # of the split into groups
SPARE = 2  # neighbours beyond the k-th to compare pair by pair, in case rounding misplaced them
TIE = 1e-12  # squared distances that differ by less than this fraction count as equal

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Manifolds:
    """Which of n samples lie in balls around real images, and which of m real images in balls around samples."""

    held: Tensor  # (n,) int64: the number of real images' balls, to their k-th neighbours, that hold each sample
    covered: Tensor  # (groups, m) bool: whether each real image's ball, to its k-th neighbour, holds one of a group
    precise: Tensor  # (n,) bool: whether each sample lies in the ball of some real image, to its j-th neighbour
    recalled: Tensor  # (groups, m) bool: whether each real image lies in such a ball of a sample of a group


def manifolds(
    fake: Tensor,  # (n, width)
    real: Tensor,  # (m, width)
    *,
    coverage_radii: Tensor,  # (m,) float64, to real neighbours; inside: strictly nearer (arXiv:2002.09797, eq. 4 and 6)
    precision_radii: Tensor,  # (m,) float64, to real neighbours; inside: no farther (arXiv:1904.06991, eq. 1)
    recall_radii: Tensor,  # (n,) float64, to fake neighbours, with the same rule
    device: torch.device = CPU,
) -> Manifolds:
    """The inputs of density, coverage, precision and recall, from one pass over all distances."""
    device = _with_float64(device)
    nearer = coverage_radii.to(device).square() * (1 - TIE)
    nearer[nearer == 0] = -torch.inf  # nothing is nearer than a duplicate, not even another duplicate
    among_real, among_fake = (radii.to(device).square() * (1 + TIE) for radii in (precision_radii, recall_radii))
    # Groups are random: samples come sorted, and a group of similar ones would not represent them.
    order = torch.randperm(len(fake), generator=torch.Generator().manual_seed(SEED))
    groups = order.to(device).tensor_split(min(GROUPS, len(fake)))
    held = torch.zeros(len(fake), dtype=torch.int64, device=device)
    precise = torch.zeros(len(fake), dtype=torch.bool, device=device)
    covered, recalled = (torch.zeros(len(groups), len(real), dtype=torch.bool, device=device) for _ in range(2))
    for number, rows, gaps, doubt in _blocks(fake, real, device, groups):
        inside = gaps < nearer - doubt
        held[rows] = inside.sum(1)
        covered[number] |= inside.any(0)
        gaps -= doubt
        precise[rows] = (gaps <= among_real).any(1)
        recalled[number] |= (gaps <= among_fake[rows, None]).any(0)
    return Manifolds(held.cpu(), covered.cpu(), precise.cpu(), recalled.cpu())


def radii(features: Tensor, k: int, of: Tensor | None = None, device: torch.device = CPU) -> Tensor:
    """The distance (m,), float64, from the points ``of`` to the k-th nearest of the others; a duplicate is at 0."""
    of = torch.arange(len(features)) if of is None else of
    return _nearest(features[of], features, k, device, without=of)[0][:, k - 1].contiguous()


def nearest_neighbours(points: Tensor, among: Tensor, device: torch.device = CPU) -> tuple[Tensor, Tensor]:
    """The nearest of ``among`` (m, width) to each point (n, width): distances (n,) float64, and indices (n,)."""
    distances, indices = _nearest(points, among, 1, device)
    return distances[:, 0], indices[:, 0]


def _nearest(
    points: Tensor, among: Tensor, k: int, device: torch.device, without: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Distances (n, k or more), float64, ascending, and indices in ``among``; ``without`` has the points' own."""
    others = len(among) - (without is not None)
    if others < k:
        raise GanzooError(
            f"{k} nearest neighbour{'' if k == 1 else 's'} cannot be found among {others} other images.",
            "Provide more images.",
        )
    device = _with_float64(device)
    points, among = points.to(device), among.to(device)
    distances, indices = [], []
    for _, rows, gaps, _ in _blocks(points, among, device, [torch.arange(len(points), device=device)]):
        if without is not None:
            gaps.scatter_(1, without.to(device)[rows, None], torch.inf)
        columns = gaps.topk(min(k + SPARE, others), dim=1, largest=False).indices
        columns = columns.sort(1).values  # by index, so that ties keep their order
        exact = (points[rows, None].double() - among[columns].double()).square().sum(2)
        order = exact.sort(dim=1, stable=True)
        distances.append(order.values.sqrt().cpu())
        indices.append(columns.gather(1, order.indices).cpu())
    return torch.cat(distances), torch.cat(indices)


def _with_float64(device: torch.device) -> torch.device:
    return device if device.type in ("cpu", "cuda") else CPU  # other accelerators, such as Apple's, may lack float64


def _blocks(
    points: Tensor, among: Tensor, device: torch.device, groups: Iterable[Tensor]
) -> Iterator[tuple[int, Tensor, Tensor, Tensor]]:
    """A group's number, some of its rows, their squared distances (rows, m), and how far rounding moved these, (m,)."""
    a, b = points.to(device).double(), among.to(device).double()
    centre = b.mean(0)
    a, b = a - centre, b - centre
    a_lengths, b_lengths = a.square().sum(1), b.square().sum(1)
    rounding = torch.finfo(torch.float64).eps * (4 + a.shape[1] ** 0.5)
    block = BLOCK_GPU if device.type == "cuda" else BLOCK
    for number, group in enumerate(groups):
        for rows in torch.split(group, max(1, block // len(b))):
            gaps = torch.addmm(b_lengths, a[rows], b.T, alpha=-2).add_(a_lengths[rows, None])
            yield number, rows, gaps, rounding * (b_lengths + a_lengths[rows].max())
