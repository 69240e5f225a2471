"""Instance noise: noise on real and fake images, until the two distributions overlap.

Sønderby, Caballero, Theis, Shi & Huszár 2017, "Amortised MAP Inference for Image Super-resolution", arXiv:1610.04490,
and Arjovsky & Bottou 2017, "Towards Principled Methods for Training Generative Adversarial Networks", arXiv:1701.04862,
section 3. D is shown

    x + σε  and  G(z) + σε',    ε, ε' ~ N(0, I)

so that the two distributions overlap and D cannot be perfect. Noisy images may leave [-1, 1], because clamping them
would stop the gradient in the black background.

Differences from the paper:

- Both papers anneal σ without specifying how; here it falls linearly to zero over ``images`` real images.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Augmentation, ImageCount, Register, beside, hookimpl

PAPER = "Sønderby et al. 2017, Amortised MAP Inference for Image Super-resolution, arXiv:1610.04490"


class InstanceNoise(Augmentation):
    """Gaussian noise that fades out, on all images that the discriminator sees.

    Args:
        level: Initial σ; images are in [-1, 1].
        images: Real images after which σ is zero.
    """

    seen: Tensor

    def __init__(self, *, level: Annotated[float, Field(ge=0, le=1e3)] = 0.5, images: ImageCount = 200_000) -> None:
        super().__init__()
        self.first, self.images = level, images
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    @property
    def level(self) -> Tensor:
        """σ, a scalar."""
        return self.first * (1 - self.seen / self.images).clamp(min=0)

    def observe(self, real_logits: Tensor) -> None:
        self.seen += len(real_logits) * self.processes

    def forward(self, images: Tensor) -> Tensor:
        """Images (n, c, h, w) plus noise."""
        return images + self.level * torch.randn_like(images)


@hookimpl
def register_augmentations(register: Register[Augmentation]) -> None:
    register("instance-noise", InstanceNoise, summary="Gaussian noise that fades out, on all images", paper=PAPER)


register_recipes = beside(__file__, "instance-noise-mnist")
