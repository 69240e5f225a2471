"""DiffAugment's parts, one at a time, and instance noise: as loud as its level."""

from __future__ import annotations

import pytest
import torch

from ganzoo_plugins.augmentations.diffaugment import DiffAugment, color
from ganzoo_plugins.augmentations.instance_noise import InstanceNoise


def test_colour_on_a_flat_image_is_brightness_alone() -> None:
    changed = color(torch.full((4000, 1, 2, 2), 0.25))
    assert torch.allclose(changed, changed[:, :, :1, :1].expand_as(changed), atol=1e-6)
    shift = changed[:, 0, 0, 0] - 0.25
    assert shift.min() >= -0.5
    assert shift.max() <= 0.5
    assert shift.mean().item() == pytest.approx(0, abs=0.02)
    assert shift.var().item() == pytest.approx(1 / 12, rel=0.05)


def test_contrast_stretches_around_each_image_s_mean() -> None:
    images = torch.randn(4000, 1, 3, 3)
    changed = color(images)
    ratio = changed.std((1, 2, 3)) / images.std((1, 2, 3))
    assert ratio.min() >= 0.5 - 1e-3
    assert ratio.max() <= 1.5 + 1e-3
    assert ratio.mean().item() == pytest.approx(1, abs=0.02)
    centred = images - images.mean((1, 2, 3), keepdim=True)
    assert torch.allclose(changed - changed.mean((1, 2, 3), keepdim=True), centred * ratio.view(-1, 1, 1, 1), atol=1e-4)


def test_saturation_moves_colours_from_and_to_grey() -> None:
    images = torch.zeros(4000, 3, 1, 1)
    images[:, 0] = 0.9
    grey = color(images).mean(1)
    spread = (color(images).amax(1) - color(images).amin(1)) / 0.9
    assert grey.min() >= 0.3 - 0.5 - 1e-5
    assert grey.max() <= 0.3 + 0.5 + 1e-5, "contrast keeps the mean of the image, saturation that of the pixel"
    assert spread.min() < 0.1
    assert spread.max() > 2
    assert spread.mean().item() == pytest.approx(1, abs=0.05)


def test_translation_is_an_eighth_of_the_size_and_lets_zeros_in() -> None:
    images = torch.full((500, 1, 28, 28), -1.0)
    moved = DiffAugment(policy=["translation"])(images)
    assert set(moved.unique().tolist()) == {-1, 0}
    zeros = (moved == 0).sum((1, 2, 3))
    assert zeros.max() <= 28 * 28 - 24 * 24
    assert zeros.min() < 28 * 4


@pytest.mark.parametrize(("size", "pixels"), [(28, 4), (20, 3), (12, 2), (18, 2)])
def test_half_a_pixel_of_translation_is_a_whole_one(size: int, pixels: int) -> None:
    """28 / 8 = 3.5, 20 / 8 = 2.5 and 12 / 8 = 1.5, as the authors' int(x + 0.5) has it; 18 / 8 = 2.25."""
    moved = DiffAugment(policy=["translation"])(torch.ones(400, 1, size, 8))
    assert (moved == 0).all(3).sum(2).max() == pixels


def test_cutout_is_half_the_size() -> None:
    left = DiffAugment(policy=["cutout"])(torch.ones(500, 1, 28, 28))
    cut = (left == 0).sum((1, 2, 3))
    assert cut.max() == 14 * 14
    assert cut.min() >= 7 * 7
    assert set(left.unique().tolist()) == {0, 1}


def test_no_policy_is_the_identity() -> None:
    images = torch.randn(4, 1, 28, 28)
    assert torch.equal(DiffAugment(policy=[])(images), images)


def test_each_image_is_changed_in_its_own_way() -> None:
    changed = DiffAugment()(torch.ones(64, 1, 28, 28).mul(torch.linspace(-1, 1, 28)))
    assert len({tuple(image.flatten().tolist()) for image in changed}) == 64


def test_noise_has_the_level_s_deviation() -> None:
    images = torch.full((200, 1, 20, 20), -1.0)
    noise = InstanceNoise(level=0.3)(images) - images
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("processes", [1, 2])
def test_the_level_falls_linearly_to_zero_and_stays(processes: int) -> None:
    noise = InstanceNoise(level=0.5, images=100)
    noise.processes = processes
    levels = []
    for _ in range(7):
        noise.observe(torch.randn(20 // processes))
        levels.append(noise.level.item())
    assert levels == pytest.approx([0.4, 0.3, 0.2, 0.1, 0, 0, 0], abs=1e-6)
    images = torch.randn(4, 1, 3, 3)
    noise.seen.fill_(100)
    assert torch.equal(noise(images), images)
