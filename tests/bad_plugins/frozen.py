"""Has a layer that forward never uses."""

from torch import nn

from ganzoo import hookimpl


class Idle(nn.Module):
    """One layer too many."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)
        self.spare = nn.Linear(spec.latent, spec.latent)

    def forward(self, z):
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("frozen", Idle, summary="One layer too many")
