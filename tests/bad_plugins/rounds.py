"""Rounds images, so that their generator gets zero gradients."""

from ganzoo import Augmentation, hookimpl


class Rounds(Augmentation):
    """The images in 256 levels."""

    def forward(self, images):
        return (images * 127.5).round() / 127.5


class Crops(Augmentation):
    """Images without their first row."""

    def forward(self, images):
        return images[..., 1:, :]


@hookimpl
def register_augmentations(register):
    register("rounds", Rounds, summary="The images in 256 levels", paper="Nobody 2020")
    register("crops", Crops, summary="Images without their first row", paper="Nobody 2020")
