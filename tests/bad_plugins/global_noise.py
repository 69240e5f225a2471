"""Draws latent codes from torch's global generator."""

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


@hookimpl
def register_priors(register):
    register("global-noise", GlobalNoise, summary="Noise from the global generator")
