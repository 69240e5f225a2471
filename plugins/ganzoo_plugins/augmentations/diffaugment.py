"""DiffAugment: the same differentiable augmentation of everything the discriminator sees, in both players' phases.

Zhao, Liu, Lin, Zhu & Han 2020, "Differentiable Augmentation for Data-Efficient GAN Training", arXiv:2006.10738.
Equations 4 and 5:

    L_D = E_x[f_D(-D(T(x)))] + E_z[f_D(D(T(G(z))))]        L_G = E_z[f_G(-D(T(G(z))))]

T is a policy of the paper's three parts, each drawn separately for each image (appendix A and the authors' code):

    color        x + U(-0.5, 0.5), then saturation times U(0, 2), then contrast times U(0.5, 1.5)
    translation  up to 1/8 of the size in each direction; zeros fill the gap
    cutout       zeros in a window of half the size, whose centre is anywhere on the image

Sizes are rounded to whole pixels, halves up. Grey images have no saturation, so for them ``color`` means brightness and
contrast. Zero is mid-grey for images in [-1, 1], as in the authors' code. MNIST's background is black, so the
discriminator can see that an image was shifted, and G gains nothing by generating shifted digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from ganzoo import Augmentation, Register, Share, beside, hookimpl
from ganzoo.layers import per_sample, random_shift, random_windows

PAPER = "Zhao et al. 2020, Differentiable Augmentation for Data-Efficient GAN Training, arXiv:2006.10738"

Part = Literal["color", "translation", "cutout"]


def color(images: Tensor) -> Tensor:
    """Random brightness, saturation (of coloured images) and contrast."""
    brightness, saturation, contrast = (per_sample(u) for u in torch.rand(3, len(images), device=images.device))
    images = images + (brightness - 0.5)
    if images.shape[1] > 1:
        grey = images.mean(1, keepdim=True)
        images = grey + (images - grey) * (2 * saturation)
    middle = images.mean((1, 2, 3), keepdim=True)
    return middle + (images - middle) * (contrast + 0.5)


class DiffAugment(Augmentation):
    """Random colour, translation and cutout.

    Args:
        policy: The parts to apply, in order. An empty list leaves images unchanged.
        shift: Largest translation, as a share of the image's size.
        window: Side of the cutout, as a share of the image's size.
    """

    images_only = True

    def __init__(
        self,
        *,
        policy: Sequence[Part] = ("color", "translation", "cutout"),
        shift: Share = 0.125,
        window: Share = 0.5,
    ) -> None:
        super().__init__()
        self.policy = tuple(policy)
        self.shift = shift
        self.window = window

    def forward(self, images: Tensor) -> Tensor:
        """T(x), drawn separately for each image (n, c, h, w)."""
        for part in self.policy:
            if part == "color":
                images = color(images)
            elif part == "translation":
                rows, columns = (int(size * self.shift + 0.5) for size in images.shape[2:])
                images = random_shift(images, rows, columns, fill=0.0)
            else:
                images = images * ~random_windows(images, self.window)
        return images


@hookimpl
def register_augmentations(register: Register[Augmentation]) -> None:
    register("diffaugment", DiffAugment, summary="Random colour, translation and cutout on all images", paper=PAPER)


register_recipes = beside(__file__, "diffaugment-mnist")
