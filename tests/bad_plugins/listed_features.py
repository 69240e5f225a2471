"""Shares a list of features."""

from torch import nn

from ganzoo import hookimpl


class Listed(nn.Module):
    """One layer, and a head that takes a list."""

    feature_width = 8

    def __init__(self, spec):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(spec.pixels, 8), nn.LeakyReLU(0.2))
        self.last = nn.Linear(8, 1)

    def features(self, images):
        return [self.layers(images)]

    def head(self, features):
        return self.last(features[-1]).squeeze(1)

    def forward(self, images):
        return self.head(self.features(images))


@hookimpl
def register_discriminators(register):
    register("listed-features", Listed, summary="Features in a list")
