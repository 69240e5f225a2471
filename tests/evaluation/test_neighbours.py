"""Nearest neighbours in blocks, against every distance written out in float64."""

import pytest
import torch

from ganzoo.evaluation import neighbours
from ganzoo.evaluation.neighbours import manifolds, nearest_neighbours, radii


def all_distances(a, b):
    return (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()


def brute_density_and_coverage(fake, real, k):
    """Naeem et al. 2020, equations 4 and 6, pair by pair."""
    own = all_distances(real, real)
    own.fill_diagonal_(float("inf"))
    balls = own.sort(1).values[:, k - 1]
    inside = all_distances(fake, real) < balls
    return float(inside.sum()) / (k * len(fake)), float(inside.any(0).double().mean())


def brute_precision_and_recall(fake, real, j):
    """Kynkäänniemi et al. 2019, equation 1, pair by pair; a point is its own nearest neighbour there."""
    between = all_distances(fake, real)
    around_real, around_fake = (all_distances(points, points).sort(1).values[:, j] for points in (real, fake))
    precision = (between <= around_real).any(1).double().mean()
    recall = (between <= around_fake[:, None]).any(0).double().mean()
    return float(precision), float(recall)


def look(fake, real, k=5, j=3):
    return manifolds(
        fake, real, coverage_radii=radii(real, k), precision_radii=radii(real, j), recall_radii=radii(fake, j)
    )


def density_and_coverage(fake, real, k):
    found = look(fake, real, k)
    return float(found.held.double().mean()) / k, float(found.covered.any(0).double().mean())


def precision_and_recall(fake, real, j=3):
    found = look(fake, real, j=j)
    return float(found.precise.double().mean()), float(found.recalled.any(0).double().mean())


@pytest.fixture(params=[2**25, 1000, 1])
def block(request, monkeypatch):
    """One block for everything, a few rows at a time, and single rows."""
    monkeypatch.setattr(neighbours, "BLOCK", request.param)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_radii_are_the_distances_to_the_kth_other_point(block, k):
    points = torch.randn(150, 7) + 5
    own = all_distances(points, points)
    own.fill_diagonal_(float("inf"))
    expected = own.sort(1).values[:, k - 1]
    assert torch.allclose(radii(points, k), expected, rtol=1e-12)
    some = torch.tensor([140, 3, 77])
    assert torch.allclose(radii(points, k, of=some), expected[some], rtol=1e-12)


def test_the_nearest_point_and_its_distance(block):
    points, among = torch.randn(90, 6), torch.randn(70, 6)
    among[11] = points[5]
    distances, indices = nearest_neighbours(points, among)
    expected = all_distances(points, among).min(1)
    assert torch.equal(indices, expected.indices)
    assert torch.allclose(distances, expected.values, rtol=1e-12)
    assert (distances[5], indices[5]) == (0, 11)


@pytest.mark.parametrize("k", [1, 5])
def test_density_and_coverage_agree_with_brute_force(block, k):
    fake, real = torch.randn(160, 5) * 0.8 + 0.2, torch.randn(130, 5)
    found = density_and_coverage(fake, real, k)
    assert found == pytest.approx(brute_density_and_coverage(fake, real, k), rel=1e-12)
    assert 0.1 < found[1] < 1


def test_density_and_coverage_of_points_on_a_line_have_closed_forms():
    # Balls of radius 1 around 0, 1, ..., 9 (the ends' nearest neighbours are also at distance 1), with open ends.
    real = torch.arange(10.0)[:, None]
    fake = torch.tensor([[0.5], [0.5], [20.0], [4.0]])
    found = manifolds(
        fake, real, coverage_radii=radii(real, 1), precision_radii=radii(real, 1), recall_radii=radii(fake, 1)
    )
    density, coverage = found.held.double().mean(), found.covered.any(0).double().mean()
    # With closed ends, the balls hold the same samples; the ball of 20 reaches to 4.0, that of 4.0 to 0.5, and those of
    # the two samples at 0.5 hold only each other.
    assert found.precise.tolist() == [True, True, False, True]
    assert found.recalled.any(0).tolist() == [False] + [True] * 9
    assert density == (2 + 2 + 0 + 1) / 4
    assert coverage == 3 / 10


def test_an_offset_costs_no_precision():
    # On a grid that float32 holds exactly, so that moving it changes no distance.
    fake, real = (torch.randint(-512, 512, (n, 5)) / 256 for n in (120, 100))
    offset = torch.tensor([4096.0, 0.0, -4096.0, 8192.0, 1.0])
    assert density_and_coverage(fake + offset, real + offset, 5) == density_and_coverage(fake, real, 5)
    assert precision_and_recall(fake + offset, real + offset) == precision_and_recall(fake, real)
    assert torch.equal(radii(real + offset, 5), radii(real, 5))


@pytest.mark.parametrize("j", [1, 3])
def test_precision_and_recall_agree_with_brute_force(block, j):
    fake, real = torch.randn(350, 6) * 0.7, torch.randn(300, 6)
    found = precision_and_recall(fake, real, j)
    assert found == pytest.approx(brute_precision_and_recall(fake, real, j), rel=1e-12)
    assert found[0] > found[1] + 0.1  # the fakes stay in the middle


def test_what_float32_cannot_distinguish_is_decided_in_float64(block):
    # Far from the common centre and close together: the differences that matter are below float32's rounding.
    near = torch.randn(120, 8, dtype=torch.float64) * 1e-3
    away = torch.zeros(120, 8, dtype=torch.float64)
    away[::2] = 100.0
    fake, real = (near + away).float(), (near.flip(1) * 1.01 + away).float()
    assert density_and_coverage(fake, real, 5) == pytest.approx(brute_density_and_coverage(fake, real, 5), rel=1e-12)
    assert precision_and_recall(fake, real) == pytest.approx(brute_precision_and_recall(fake, real, 3), rel=1e-12)
    own = all_distances(fake, fake).fill_diagonal_(float("inf"))
    assert torch.allclose(radii(fake, 3), own.sort(1).values[:, 2], rtol=1e-12)


@pytest.mark.parametrize("n", [640, 641, 700])
def test_the_nearest_of_many_points_are_found(n):
    points = torch.randn(50, 3)
    among = torch.cat([points[:20] + 1e-3, torch.randn(n - 20, 3)])
    distances, indices = nearest_neighbours(points, among)
    expected = all_distances(points, among).min(1)
    assert torch.equal(indices, expected.indices)
    assert torch.allclose(distances, expected.values, rtol=1e-12)
    own = all_distances(among, among).fill_diagonal_(float("inf"))
    assert torch.allclose(radii(among, 5), own.sort(1).values[:, 4], rtol=1e-12)


def test_the_order_of_samples_only_moves_them_between_groups():
    fake, real = torch.randn(300, 4), torch.randn(200, 4)
    one, other = look(fake, real), look(fake.flip(0), real)
    assert torch.equal(one.held, other.held.flip(0))
    assert torch.equal(one.covered.any(0), other.covered.any(0))
    assert torch.equal(one.recalled.any(0), other.recalled.any(0))


def test_nothing_is_nearer_than_duplicates_to_one_another():
    """Six equal points have an open ball of radius 0, which holds no sample; precision's ball is closed."""
    real = torch.cat([torch.ones(6, 3), torch.randn(20, 3) + 9])
    fake = torch.cat([torch.ones(4, 3), torch.randn(20, 3) + 9])
    assert density_and_coverage(fake, real, 5) == pytest.approx(brute_density_and_coverage(fake, real, 5))
    assert not look(fake, real).covered.any(0)[:6].any()
    assert look(fake, real).precise[:4].all()


def test_an_accelerator_without_float64_leaves_distances_to_the_cpu():
    """No tensor can be created on a device that torch was not built for, so everything must stay on the CPU."""
    points, device = torch.rand(20, 3), torch.device("mps")
    assert torch.equal(radii(points, 2, device=device), radii(points, 2))
    assert torch.equal(nearest_neighbours(points, points, device)[1], torch.arange(20))
