"""Shifts, windows: each pixel where it should be."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradgradcheck
from torch.nn.functional import grid_sample

from ganzoo.layers import random_shift, random_windows, sample_bilinear, translate


def shifts(*values: int) -> torch.Tensor:
    return torch.tensor(values)


def test_translation_moves_pixels_by_hand() -> None:
    image = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]).view(1, 1, 3, 3)
    moved = translate(image, shifts(1), shifts(-1), fill=0.0)
    assert moved[0, 0].tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    repeated = translate(image, shifts(1), shifts(-1))
    assert repeated[0, 0].tolist() == [[2, 3, 3], [2, 3, 3], [5, 6, 6]]


@pytest.mark.parametrize("fill", [0.0, None])
def test_the_inside_agrees_with_roll_for_each_image_on_its_own(fill: float | None) -> None:
    images = torch.randn(3, 2, 8, 10)
    down, right = shifts(2, -3, 0), shifts(-1, 4, 0)
    moved = translate(images, down, right, fill=fill)
    for i in range(3):
        rolled = images[i].roll((int(down[i]), int(right[i])), (1, 2))
        assert torch.equal(moved[i, :, 3:5, 4:6], rolled[:, 3:5, 4:6])
    assert torch.equal(moved[2], images[2])


def test_a_shift_out_of_sight_leaves_the_fill() -> None:
    assert (translate(torch.rand(1, 1, 4, 4), shifts(9), shifts(0), fill=-1.0) == -1).all()


def test_random_shifts_are_uniform_and_bounded() -> None:
    image = torch.zeros(9000, 1, 7, 7)
    image[:, :, 3, 3] = 1
    places = random_shift(image, 1, 2, fill=0.0).mean(0)[0]
    assert torch.count_nonzero(places) == 3 * 5
    assert places[2:5, 1:6].min() > 0.8 / 15
    assert places.sum().item() == pytest.approx(1, abs=1e-5)


def test_windows_have_their_size_and_any_centre() -> None:
    windows = random_windows(torch.zeros(4000, 3, 8, 12), 0.5)
    assert windows.shape == (4000, 1, 8, 12)
    rows, columns = windows.any(3).sum(2), windows.any(2).sum(2)
    assert (rows.max().item(), columns.max().item()) == (4, 6)
    assert (rows.min().item(), columns.min().item()) == (2, 3), "half a window at the edge"
    assert torch.equal(windows.sum((1, 2, 3)), (rows * columns).squeeze(1)), "a full rectangle"
    assert windows.any(0).all()


@pytest.mark.parametrize(("size", "side", "places"), [(8, 4, 9), (10, 5, 10), (9, 5, 9), (7, 4, 8)])
def test_windows_lie_left_and_right_alike(size: int, side: int, places: int) -> None:
    """Each place is as likely as its mirror image; halves of a pixel round up (9 / 2 and 7 / 2)."""
    torch.manual_seed(0)
    windows = random_windows(torch.zeros(20_000, 1, size, 1), 0.5)[:, 0, :, 0]
    kinds, counts = windows.unique(dim=0, return_counts=True)
    assert (len(kinds), windows.sum(1).max().item()) == (places, side)
    assert {tuple(kind) for kind in kinds.tolist()} == {tuple(reversed(kind)) for kind in kinds.tolist()}
    assert counts.min() > 0.85 * 20_000 / places


def test_bilinear_samples_are_torch_s_reflected_ones_of_any_shape() -> None:
    images = torch.randn(5, 2, 7, 9)
    x, y = 20 * torch.randn(5, 6, 8), 20 * torch.randn(5, 6, 8)
    grid = torch.stack([(2 * x + 1) / 9 - 1, (2 * y + 1) / 7 - 1], 3)
    expected = grid_sample(images, grid, padding_mode="reflection", align_corners=False)
    torch.testing.assert_close(sample_bilinear(images, x, y), expected, rtol=0, atol=1e-4)


def test_bilinear_samples_have_second_derivatives() -> None:
    images = torch.randn(2, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    places = 6 * torch.rand(2, 3, 4, dtype=torch.float64) - 1
    assert gradgradcheck(lambda pixels: sample_bilinear(pixels, places, places).pow(3), (images,))
