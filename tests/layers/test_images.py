"""The filter [1, 3, 3, 1] against sums written out, and against torch's bilinear interpolation."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import interpolate

from ganzoo import GaussianPrior, Spec
from ganzoo.layers import Blur, Crop, ImageTanh, PadToEven, channel_pyramid, upsample2x


def spec(height: int, width: int) -> Spec:
    return Spec((1, height, width), GaussianPrior(dim=4))


def test_a_blurred_point_is_the_filter() -> None:
    point = torch.zeros(1, 2, 7, 7)
    point[0, 1, 3, 3] = 64
    blurred = Blur(padding=2)(point)
    taps = torch.tensor([1.0, 3.0, 3.0, 1.0])
    assert blurred.shape == (1, 2, 8, 8)
    assert torch.equal(blurred[0, 1, 2:6, 2:6], taps[:, None] * taps)
    assert blurred.sum() == 64
    assert blurred[0, 0].abs().max() == 0, "maps do not mix"


def test_halving_agrees_with_antialiased_interpolation_away_from_the_edge() -> None:
    maps = torch.randn(1, 2, 12, 12)
    torch_s = interpolate(maps, scale_factor=0.5, mode="bilinear", antialias=True)
    assert torch.allclose(Blur(padding=1, step=2)(maps)[..., 1:-1, 1:-1], torch_s[..., 1:-1, 1:-1], atol=1e-5)


def test_doubling_is_the_same_filter_over_zeros_in_between() -> None:
    maps = torch.randn(1, 2, 6, 6)
    sparse = torch.zeros(1, 2, 13, 13)
    sparse[..., 1::2, 1::2] = maps
    assert torch.allclose(
        Blur(padding=1, gain=4.0)(sparse)[..., 2:-2, 2:-2], upsample2x(maps)[..., 2:-2, 2:-2], atol=1e-6
    )


@pytest.mark.parametrize(
    ("size", "expected"),
    [((28, 28), [40, 32, 16, 8]), ((64, 64), [40, 40, 32, 16, 8]), ((5, 9), [16, 8])],
)
def test_channels_double_as_the_image_halves(size: tuple[int, int], expected: list[int]) -> None:
    assert channel_pyramid(spec(*size), 8, 40) == expected


@pytest.mark.parametrize("size", [(7, 7), (8, 7), (7, 8), (4, 6)])
def test_odd_sides_are_padded_with_zeros_and_cropped_again(size: tuple[int, int]) -> None:
    maps = torch.randn(2, 3, *size)
    padded = PadToEven()(maps)
    assert padded.shape[2:] == (-(-size[0] // 2) * 2, -(-size[1] // 2) * 2)
    assert padded.sum() == pytest.approx(maps.sum().item(), abs=1e-4)
    assert torch.equal(Crop(size)(padded), maps)


def test_a_saturated_pixel_still_learns_in_bfloat16() -> None:
    pixels = torch.tensor([5.0, -5.0], dtype=torch.bfloat16, requires_grad=True)
    ImageTanh()(pixels).sum().backward()
    assert pixels.grad is not None
    assert (pixels.grad > 0).all()
    assert not torch.autograd.grad(pixels.tanh().sum(), pixels)[0].any(), "which torch's own does not"
    exact = torch.randn(4, dtype=torch.float64)
    assert torch.equal(ImageTanh()(exact), exact.tanh())
