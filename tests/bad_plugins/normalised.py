"""Claims per_image, but normalises over the batch."""

from torch import nn

from ganzoo import hookimpl


class Normalised(nn.Module):
    """One hidden layer with batch normalisation."""

    per_image = True

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(spec.pixels, 16), nn.BatchNorm1d(16), nn.LeakyReLU(0.2), nn.Linear(16, 1)
        )

    def forward(self, images):
        return self.layers(images).squeeze(1)


@hookimpl
def register_discriminators(register):
    register("normalised", Normalised, summary="Uses batch statistics")
