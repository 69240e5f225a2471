"""Instance noise: as loud as its level, which falls and is kept."""

from __future__ import annotations

import pytest
import torch

from ganzoo_plugins.augmentations.instance_noise import InstanceNoise


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
