"""A generator whose images are small only until it is trained."""

from torch import nn

from ganzoo import hookimpl


class NoTanh(nn.Module):
    """One layer."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)

    def forward(self, z):
        return 0.1 * self.image(z).view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("no-tanh", NoTanh, summary="One layer without a limit")
