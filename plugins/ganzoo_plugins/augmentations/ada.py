"""ADA: augmentation with a probability that follows how much the discriminator overfits.

Karras, Aittala, Hellsten, Laine, Lehtinen & Aila 2020, "Training Generative Adversarial Networks with Limited Data",
arXiv:2006.06676. Every transformation is applied to each image with probability p. Section 3, equation 1:

    r_t = E[sign(D_train)]

is 0 when D does not overfit and 1 when it has memorised the training set. D_train is the logit of training images,
positive where D calls them real; a critic without such a zero point (Wasserstein) makes the rule meaningless. Every
``interval`` batches, p goes up if r_t exceeds the target and down if it is below, at a speed that takes it from 0 to 1
in ``images`` (500,000) real images.

Images are translated by N(0, 0.125²) of their size, scaled by 2^N(0, 0.2²) and rotated; brightness changes by N(0,
0.2²), contrast by 2^N(0, 0.5²). ``noise`` of deviation |N(0, 0.1²)| and ``cutout`` of half the size are options.

Differences from the paper:

- p stays within [0, 1]; in the authors' code it may exceed 1.
- These are the transformations of the authors' default pipeline ``bgc`` (blitting, geometry and colour of appendix B)
  that make sense for small grey images. Not implemented: rotation by 90°, translation by whole pixels, anisotropic
  scaling, luma flip, hue and saturation, and the filter bank.
- Flips are off by default, and rotation is limited to 15° instead of 180°: a mirrored digit is not a digit and an
  upside-down 6 is a 9, so at a large p wrong digits would leak into G.
- Geometry shares one resampling, bilinear with reflected borders, without the paper's wavelet filters.
"""

from __future__ import annotations

from math import pi
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Augmentation, EverySteps, ImageCount, Register, Share, beside, hookimpl
from ganzoo.layers import per_sample, random_windows, sample_bilinear

PAPER = "Karras et al. 2020, Training Generative Adversarial Networks with Limited Data, arXiv:2006.06676"


class ADA(Augmentation):
    """Random geometry, brightness and contrast, each with an adaptive probability.

    Args:
        target: The r_t that p is adapted towards.
        images: Number of real images in which p can go from 0 to 1.
        interval: Batches over which r_t is averaged.
        start: Initial p.
        p: A fixed probability, or a schedule of it as in R3GAN (arXiv:2501.05441), instead of the adaptive one.
        rotation: Largest angle in degrees.
        flip: Also mirror images horizontally.
        noise: Also add Gaussian noise.
        cutout: Also blank a window of half the size.
    """

    images_only = True
    scheduled = ("p",)
    p: Tensor
    signs: Tensor
    batches: Tensor

    def __init__(
        self,
        *,
        target: Annotated[float, Field(ge=-1, le=1)] = 0.6,
        images: ImageCount = 500_000,
        interval: EverySteps = 4,
        start: Share = 0.0,
        p: Share | None = None,
        rotation: Annotated[float, Field(ge=0, le=360)] = 15.0,
        flip: bool = False,
        noise: bool = False,
        cutout: bool = False,
    ) -> None:
        super().__init__()
        self.target = target
        self.images = images
        self.interval = interval
        self.rotation = rotation * pi / 180
        self.flip = flip
        self.noise = noise
        self.cutout = cutout
        self.adapts = p is None
        self.register_buffer("p", torch.tensor(float(start if p is None else p)))
        self.register_buffer("signs", torch.zeros(()))
        self.register_buffer("batches", torch.zeros(()))

    def observe(self, real_logits: Tensor) -> None:
        """Adapt p after every ``interval`` batches, unless the recipe sets it."""
        if not self.adapts:
            return
        self.signs += real_logits.sign().mean()
        self.batches += 1
        due = self.batches >= self.interval
        direction = (self.signs / self.batches - self.target).sign()
        step = direction * self.batches * (len(real_logits) * self.processes / self.images)
        self.p.copy_(torch.where(due, self.p + step, self.p).clamp(0, 1))
        self.signs.mul_(~due)
        self.batches.mul_(~due)

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w), float32, each changed by each transformation with probability p."""
        images = self.warp(images.float())
        images = images + per_sample(self.sometimes(images, 0.2))
        images = images * per_sample(self.sometimes(images, 0.5).exp2())
        if self.noise:
            images = images + per_sample(self.sometimes(images, 0.1).abs()) * torch.randn_like(images)
        if self.cutout:
            images = torch.where(per_sample(self.chosen(images)) & random_windows(images, 0.5), 0.0, images)
        return images

    def warp(self, images: Tensor) -> Tensor:
        """Rotate, scale, flip and translate. Images to which none of these apply keep their exact pixels."""
        angle = (2 * torch.rand(len(images), device=images.device) - 1) * self.rotation * self.chosen(images)
        scale = self.sometimes(images, 0.2).exp2()
        mirror = 1 - 2.0 * (self.chosen(images) & self.chosen(images, 0.5)) if self.flip else torch.ones_like(scale)
        right, down = self.sometimes(images, 0.125, 2)
        height, width = images.shape[2:]
        middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
        # Where each pixel of the result comes from, counted in pixels from the middle of the image.
        y = torch.arange(height, device=images.device).view(1, -1, 1) - middle_y - (height * down).view(-1, 1, 1)
        x = torch.arange(width, device=images.device).view(1, 1, -1) - middle_x - (width * right).view(-1, 1, 1)
        cosine, sine = ((f / scale).view(-1, 1, 1) for f in (angle.cos(), angle.sin()))
        source_x, source_y = mirror.view(-1, 1, 1) * (cosine * x + sine * y), cosine * y - sine * x
        warped = sample_bilinear(images, source_x + middle_x, source_y + middle_y)
        touched = (angle != 0) | (scale != 1) | (mirror != 1) | (right != 0) | (down != 0)
        return torch.where(per_sample(touched), warped, images)

    def chosen(self, images: Tensor, share: float | None = None) -> Tensor:
        """Whether each image is chosen: bool (n,), with probability p or ``share``."""
        return torch.rand(len(images), device=images.device) < (self.p if share is None else share)

    def sometimes(self, images: Tensor, deviation: float, *size: int) -> Tensor:
        """For each image, numbers from N(0, deviation²) with probability p, else zeros: (*size, n)."""
        return torch.randn(*size, len(images), device=images.device) * deviation * self.chosen(images)


@hookimpl
def register_augmentations(register: Register[Augmentation]) -> None:
    register("ada", ADA, summary="Augmentation that grows as the discriminator overfits", paper=PAPER)


register_recipes = beside(__file__, "ada-mnist")
