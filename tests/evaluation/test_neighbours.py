"""Nearest neighbours in blocks, against every distance written out in float64."""

import pytest
import torch

from ganzoo.evaluation import neighbours
from ganzoo.evaluation.neighbours import density_and_coverage, nearest_neighbours, radii


def all_distances(a, b):
    return (a.double()[:, None] - b.double()[None]).square().sum(2).sqrt()


def brute_density_and_coverage(fake, real, k):
    """Naeem et al. 2020, equations 4 and 6, pair by pair."""
    own = all_distances(real, real)
    own.fill_diagonal_(float("inf"))
    balls = own.sort(1).values[:, k - 1]
    inside = all_distances(fake, real) < balls
    return float(inside.sum()) / (k * len(fake)), float(inside.any(0).double().mean())


@pytest.fixture(params=[2**25, 1000, 1])
def block(request, monkeypatch):
    """One block for everything, a few rows at a time, and single rows."""
    monkeypatch.setattr(neighbours, "BLOCK", request.param)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_radii_are_the_distances_to_the_kth_of_the_others(block, k):
    points = torch.randn(150, 7) + 5
    own = all_distances(points, points)
    own.fill_diagonal_(float("inf"))
    expected = own.sort(1).values[:, k - 1]
    assert torch.allclose(radii(points, k), expected, rtol=1e-12)
    some = torch.tensor([140, 3, 77])
    assert torch.allclose(radii(points, k, of=some), expected[some], rtol=1e-12)


def test_a_duplicate_is_a_neighbour_at_no_distance():
    points = torch.randn(30, 4)
    points[7] = points[3]
    found = radii(points, 1)
    assert found[3] == found[7] == 0
    assert (found > 0).sum() == 28


def test_the_nearest_point_and_how_far_it_is(block):
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
    found = density_and_coverage(fake, real, radii(real, k), k)
    assert found == pytest.approx(brute_density_and_coverage(fake, real, k), rel=1e-12)
    assert 0.1 < found[1] < 1


def test_density_and_coverage_of_points_on_a_line_have_closed_forms():
    # Balls of radius 1 around 0, 1, ..., 9 (the ends' nearest neighbours are at 1 as well), open at their ends.
    real = torch.arange(10.0)[:, None]
    fake = torch.tensor([[0.5], [0.5], [20.0], [4.0]])
    density, coverage = density_and_coverage(fake, real, radii(real, 1), 1)
    assert density == (2 + 2 + 0 + 1) / 4
    assert coverage == 3 / 10


def test_a_set_is_as_dense_as_expected_and_covered_by_itself():
    points = torch.randn(400, 8) * 10
    assert density_and_coverage(points, points, radii(points, 5), 5) == (1.0, 1.0)


def test_an_offset_costs_no_digits():
    # On a grid that float32 holds exactly, so that moving it changes no distance.
    fake, real = (torch.randint(-512, 512, (n, 5)) / 256 for n in (120, 100))
    offset = torch.tensor([4096.0, 0.0, -4096.0, 8192.0, 1.0])
    moved = density_and_coverage(fake + offset, real + offset, radii(real + offset, 5), 5)
    assert moved == density_and_coverage(fake, real, radii(real, 5), 5)
    assert torch.equal(radii(real + offset, 5), radii(real, 5))
