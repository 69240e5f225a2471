"""Networks that fail in bfloat16, keep what they learned to themselves, or cannot be copied."""

import threading

import torch
from torch import nn

from ganzoo import hookimpl


class Copies(nn.Module):
    """Writes features of one type into a tensor of another."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)

    def forward(self, z):
        images = torch.zeros(len(z), self.spec.pixels)
        images[torch.arange(len(z))] = self.image(z)
        return images.tanh().view(-1, *self.spec.image_shape)


class Remembers(nn.Module):
    """Centres its outputs on an average that is no buffer."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)
        self.mean = torch.zeros(spec.pixels)

    def forward(self, z):
        pixels = self.image(z)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * pixels.detach().mean(0)
        return (pixels - self.mean).tanh().view(-1, *self.spec.image_shape)


class Even(nn.Module):
    """Paints even sides only."""

    def __init__(self, spec):
        super().__init__()
        self.shape = (spec.channels, spec.height // 2 * 2, spec.width // 2 * 2)
        self.image = nn.Linear(spec.latent, self.shape[0] * self.shape[1] * self.shape[2])

    def forward(self, z):
        return self.image(z).tanh().view(-1, *self.shape)


class Locked(nn.Module):
    """Lets one thread in at a time."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)
        self.lock = threading.Lock()

    def forward(self, z):
        with self.lock:
            return self.image(z).tanh().view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("copies-features", Copies, summary="One layer, written into zeros")
    register("remembers", Remembers, summary="One layer, centred")
    register("locked", Locked, summary="One layer, one thread")
    register("even", Even, summary="One layer, even sides")
