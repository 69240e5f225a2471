"""Takes labels and ignores them."""

from torch import nn

from ganzoo import hookimpl


class IgnoresLabels(nn.Module):
    """One layer, whatever the class."""

    def __init__(self, spec):
        super().__init__()
        self.spec = spec
        self.image = nn.Linear(spec.latent, spec.pixels)

    def forward(self, z, label=None):
        return self.image(z).tanh().view(-1, *self.spec.image_shape)


@hookimpl
def register_generators(register):
    register("ignores-labels", IgnoresLabels, summary="One layer, whatever the class")
