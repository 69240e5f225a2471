"""ADA: what it does to images, how p adapts, and that p is not forgotten."""

from __future__ import annotations

from math import atan2, pi, prod

import pytest
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from ganzoo_plugins.augmentations.ada import ADA


class Fixed(ADA):
    """Draws that the test decides: every ``sometimes`` is taken from a list, everything else never happens."""

    def __init__(self, draws: list[float], *, angle: float = 0.0, mirror: bool = False, noise: bool = False) -> None:
        super().__init__(start=0.0, rotation=angle, flip=mirror, noise=noise)
        self.draws = draws
        self.turned = angle != 0 or mirror

    def sometimes(self, images: Tensor, deviation: float, *size: int) -> Tensor:
        draws = torch.tensor([self.draws.pop(0) for _ in range(prod(size))])
        return draws.view(*size, 1).expand(*size, len(images))

    def chosen(self, images: Tensor, share: float | None = None) -> Tensor:
        return torch.full((len(images),), self.turned)


def warp(image: Tensor, *, scale: float = 0.0, right: float = 0.0, down: float = 0.0, **more: float) -> Tensor:
    return Fixed([scale, right, down], **more).warp(image)


def blob(height: int = 28, width: int = 28, row: int = 10, column: int = 8) -> Tensor:
    image = torch.full((1, 1, height, width), -1.0)
    image[:, :, row : row + 2, column : column + 2] = 1
    return image


def centre(image: Tensor) -> tuple[float, float]:
    """Row and column of the bright mass, from the middle of the image."""
    mass = (image[0, 0] + 1) / (image + 1).sum()
    height, width = mass.shape
    rows, columns = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    return (mass.sum(1) @ rows).item(), (mass.sum(0) @ columns).item()


def test_p_0_is_the_identity_to_the_bit() -> None:
    images = torch.rand(16, 1, 28, 28) * 2 - 1
    assert torch.equal(ADA(start=0.0)(images), images)
    assert torch.equal(ADA(start=0.0, flip=True, noise=True, cutout=True)(images), images)


def test_an_image_is_moved_along_both_axes_or_not_at_all() -> None:
    torch.manual_seed(0)
    right, down = ADA(p=0.3).sometimes(torch.empty(1000, 1, 28, 28), 0.125, 2)
    assert torch.equal(right != 0, down != 0)
    assert torch.corrcoef(torch.stack([right, down])[:, right != 0])[0, 1].abs() < 0.2


@pytest.mark.parametrize("width", [28, 40])
def test_the_angle_in_pixels_goes_to_the_given_degrees_either_way_and_no_further(width: int) -> None:
    image = blob(width=width, row=4)
    row, column = centre(image)
    angles = []
    for turned in warp(image.repeat(300, 1, 1, 1), angle=15.0).split(1):
        turned_row, turned_column = centre(turned)
        assert turned_row**2 + turned_column**2 == pytest.approx(row**2 + column**2, rel=0.05)
        angles.append(atan2(turned_row * column - turned_column * row, turned_row * row + turned_column * column))
    degrees = torch.tensor(angles) * 180 / pi
    assert -15.5 < degrees.min() < -14
    assert 14 < degrees.max() < 15.5


def test_a_flip_mirrors_left_and_right() -> None:
    assert torch.allclose(warp(blob(), mirror=True), blob().flip(3), atol=1e-5)


def test_the_grid_agrees_with_torch_s_own_for_an_affine_map() -> None:
    image = torch.randn(1, 1, 9, 9)
    theta = torch.tensor([[[2**-0.3, 0.0, -0.4 * 2**-0.3], [0.0, 2**-0.3, 0.2 * 2**-0.3]]])
    grid = torch.nn.functional.affine_grid(theta, [1, 1, 9, 9], align_corners=False)
    expected = grid_sample(image, grid, padding_mode="reflection", align_corners=False)
    assert torch.allclose(warp(image, scale=0.3, right=0.2, down=-0.1), expected, atol=1e-5)


def test_brightness_contrast_and_noise_have_their_strength() -> None:
    images = torch.full((4000, 1, 2, 2), 0.5)
    changed = Fixed([0.0, 0.0, 0.0, 0.25, -1.0])(images)
    assert torch.allclose(changed, torch.tensor(0.375)), "(0.5 + 0.25) / 2"
    noisy = Fixed([0.0, 0.0, 0.0, 0.0, 0.0, -0.2], noise=True)(images)
    assert (noisy - images).std().item() == pytest.approx(0.2, rel=0.03)


def test_noise_and_cutout_are_off_by_default_and_options() -> None:
    flat = torch.full((400, 1, 8, 8), 0.5)
    # At p = 1 without them a flat image stays flat: geometry, brightness and contrast leave no pixel apart.
    assert ADA(start=1.0)(flat).std((1, 2, 3)).max() < 1e-5
    noisy = ADA(start=1.0, noise=True)(flat)
    assert noisy.std((1, 2, 3)).mean().item() == pytest.approx(0.1 * (2 / pi) ** 0.5, rel=0.15), "E|N(0, 0.1²)|"
    cut = ADA(start=1.0, cutout=True)(flat)
    assert (cut == 0).flatten(1).any(1).all()
    assert (cut == 0).sum((1, 2, 3)).max() == 4 * 4


@pytest.mark.parametrize("p", [0.2, 0.7])
def test_p_is_the_share_of_images_that_a_transformation_falls_to(p: float) -> None:
    ada = ADA(start=p)
    images = torch.zeros(20_000, 1, 1, 1)
    assert ada.chosen(images).float().mean().item() == pytest.approx(p, abs=0.02)
    drawn = ada.sometimes(images, 0.5)
    assert (drawn != 0).float().mean().item() == pytest.approx(p, abs=0.02)
    assert drawn[drawn != 0].std().item() == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 20)], ids=str)
def test_gradients_agree_with_finite_differences(shape: tuple[int, int, int]) -> None:
    ada = ADA(start=1.0, flip=True, noise=True, cutout=True)
    images = torch.randn(2, *shape, requires_grad=True)
    direction = torch.randn_like(images)

    def value(x: Tensor) -> Tensor:
        torch.manual_seed(3)
        return ada(x).double().square().sum()

    value(images).backward()
    with torch.no_grad():
        slope = (value(images + 1e-3 * direction) - value(images - 1e-3 * direction)) / 2e-3
    assert (images.grad * direction).sum().item() == pytest.approx(slope.item(), rel=1e-2, abs=0.5)


def test_half_precision_images_come_back_whole() -> None:
    ada = ADA(start=1.0)
    with torch.autocast("cpu", torch.bfloat16):
        assert ada(torch.zeros(2, 1, 28, 28, dtype=torch.bfloat16)).dtype == torch.float32


def test_p_rises_while_the_discriminator_overfits_and_falls_when_it_does_not() -> None:
    ada = ADA(target=0.6, images=1000, interval=4, start=0.5)
    for batch in range(4):
        assert ada.p.item() == 0.5, f"not yet after {batch} batches"
        ada.observe(torch.ones(10))
    assert ada.p.item() == pytest.approx(0.5 + 40 / 1000)
    for _ in range(4):
        ada.observe(torch.tensor([3.0] * 7 + [-1.0] * 3))  # r_t = 0.4
    assert ada.p.item() == pytest.approx(0.5)
    for _ in range(4):
        ada.observe(torch.tensor([0.1] * 9 + [-9.0]))  # r_t = 0.8: signs count, not sizes
    assert ada.p.item() == pytest.approx(0.54)


def test_r_t_is_a_mean_over_the_interval() -> None:
    ada = ADA(target=0.6, images=100, interval=2, start=0.5)
    ada.observe(torch.ones(10))
    ada.observe(torch.tensor([1.0] * 6 + [-1.0] * 4))  # (1 + 0.2) / 2 is the target, so nothing moves
    assert ada.p.item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("options", "logit", "processes", "p"),
    [
        ({"images": 20, "start": 0.5}, 1.0, 1, 1.0),
        ({"images": 20, "start": 0.5}, -1.0, 1, 0.0),
        ({"images": 1000}, 1.0, 2, 5 * 20 / 1000),
        ({"images": 10, "p": 0.3}, 1.0, 1, 0.3),
    ],
    ids=["at most 1", "at least 0", "counts images of all processes", "fixed"],
)
def test_p_after_five_batches_of_ten(options: dict[str, float], logit: float, processes: int, p: float) -> None:
    ada = ADA(interval=1, **options)
    ada.processes = processes
    for _ in range(5):
        ada.observe(torch.full((10,), logit))
    assert ada.p.item() == pytest.approx(p)
