"""Encodes labels with a matrix on the CPU."""

import torch
from torch import nn

from ganzoo import hookimpl


class LabelOnCpu(nn.Module):
    """One layer, and one more for the class."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent + spec.classes, spec.pixels)

    def forward(self, z, label=None):
        if label is not None:
            z = torch.cat([z, torch.eye(self.spec.classes)[label]], 1)
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("label-on-cpu", LabelOnCpu, summary="One layer, and one more for the class")
