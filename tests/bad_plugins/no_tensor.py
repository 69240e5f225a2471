"""An augmentation that returns the images along with something else."""

from ganzoo import Augmentation, hookimpl


class NoTensor(Augmentation):
    """Mirrors images, and says so."""

    def forward(self, images):
        return images.flip(3), True


@hookimpl
def register_augmentations(register):
    register("no-tensor", NoTensor, summary="Mirrored images", paper="Someone 2020")
