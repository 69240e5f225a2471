"""Draws its weights from a generator that nobody seeds."""

import torch
from torch import nn

from ganzoo import hookimpl


class OwnSeed(nn.Module):
    """One layer with other weights each time."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        own = torch.Generator()
        own.seed()
        self.weight = nn.Parameter(0.1 * torch.randn(spec.latent, spec.pixels, generator=own))

    def forward(self, z):
        return (z @ self.weight).tanh().view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("own-seed", OwnSeed, summary="Other weights each time")
