"""Rounds images, so that their generator gets zero gradients."""

from ganzoo import Augmentation, hookimpl


class Rounds(Augmentation):
    """The images in 256 levels."""

    def forward(self, images):
        return (images * 127.5).round() / 127.5


@hookimpl
def register_augmentations(register):
    register("rounds", Rounds, summary="The images in 256 levels", paper="Nobody 2020")
