"""A discriminator whose constructor raises an exception."""

from torch import nn

from ganzoo import hookimpl


class CannotBuild(nn.Module):
    """Reads a size that the spec does not have."""

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.pixel, 1), nn.Flatten(0))

    def forward(self, images):
        return self.layers(images)


@hookimpl
def register_discriminators(register):
    register("cannot-build", CannotBuild, summary="Reads spec.pixel")
