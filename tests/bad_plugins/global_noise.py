"""Draws latent codes from torch's global generator, on the CPU alone, or after seeding Python's."""

import random
from dataclasses import dataclass

import torch

from ganzoo import Prior, hookimpl


@dataclass(frozen=True, kw_only=True)
class GlobalNoise(Prior):
    """Noise that no seed of a training decides.

    Args:
        dim: Width.
    """

    name = "global-noise"
    dim: int = 8

    @property
    def width(self):
        return self.dim

    def sample(self, n, generator, device):
        return torch.randn(n, self.dim, device=device)


class OnTheCpu(GlobalNoise):
    """Noise that stays on the CPU."""

    def sample(self, n, generator, device):
        return torch.randn(n, self.dim, generator=generator)


class Seeding(GlobalNoise):
    """Noise, and a seed for Python."""

    def sample(self, n, generator, device):
        random.seed(0)
        return torch.randn(n, self.dim, generator=generator, device=device)


@hookimpl
def register_priors(register):
    register("global-noise", GlobalNoise, summary="Noise from the global generator")
    register("on-the-cpu", OnTheCpu, summary="Noise on the CPU")
    register("seeding", Seeding, summary="Noise, and a seed")
