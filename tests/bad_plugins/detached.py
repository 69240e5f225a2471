"""Computes its output without gradients."""

import torch
from torch import nn

from ganzoo import hookimpl


class Detached(nn.Module):
    """One layer under no_grad."""

    per_image = True

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.pixels, 1), nn.Flatten(0))

    @torch.no_grad()
    def forward(self, images):
        return self.layers(images)


@hookimpl
def register_discriminators(register):
    register("detached", Detached, summary="One layer under no_grad")
