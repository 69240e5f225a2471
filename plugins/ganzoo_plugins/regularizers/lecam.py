"""LeCam regularization: real logits stay near the average of past fake logits, and vice versa.

Tseng, Jiang, Liu, Yang & Yang 2021, "Regularizing Generative Adversarial Networks under Limited Data",
arXiv:2104.03310. With moving averages α_R and α_F of the logits of real images and of fakes (decay γ):

    R_LC = E_x[(D(x) - α_F)²] + E_z[(D(G(z)) - α_R)²],    γ = 0.99

With the Wasserstein loss, fixed averages, a small λ and an optimal D, G would minimise a LeCam divergence, which is
bounded. The right λ depends on the scale of D's logits: the authors' scripts set 0.3 for BigGAN on CIFAR, and 1e-6
(CIFAR) or 3e-7 (FFHQ) for StyleGAN2.

Differences from the paper:

- The averages are plain means at first, so their initial zeros have no influence. The authors' StyleGAN2 corrects for
  the zeros, as Adam does, and the authors' BigGAN averages with a decay of 0.9 and applies the penalty only after 1,000
  steps.
- The authors' code penalises only real logits above α_F and fake logits below α_R; here, as in the equation, every
  logit counts.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Register, Regularizer, RegularizerContext, Weight, beside, hookimpl

PAPER = "Tseng et al. 2021, Regularizing GANs under Limited Data, arXiv:2104.03310"


class LeCam(Regularizer):
    """Ties the logits of each kind of image to the other's average.

    Args:
        weight: λ.
        decay: γ, the weight of the old average in each update.
    """

    real_average: Tensor
    fake_average: Tensor
    steps: Tensor

    def __init__(self, *, weight: Weight = 0.3, decay: Annotated[float, Field(ge=0, lt=1)] = 0.99) -> None:
        super().__init__(weight=weight)
        self.decay = decay
        for name in ("real_average", "fake_average", "steps"):
            self.register_buffer(name, torch.zeros(()))

    def penalty(self, context: RegularizerContext) -> Tensor:
        """R_LC, after updating the averages with these logits."""
        real, fake = context.discriminate_real(), context.discriminate_fake()
        self.follow(real.detach().mean(), fake.detach().mean())
        return (real - self.fake_average).square().mean() + (fake - self.real_average).square().mean()

    def follow(self, real: Tensor, fake: Tensor) -> None:
        """Update the averages: means over all steps at first, then moving averages with ``decay``."""
        self.steps += 1
        share = (1 / self.steps).clamp(min=1 - self.decay)
        self.real_average.lerp_(real, share)
        self.fake_average.lerp_(fake, share)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("lecam", LeCam, summary="Real logits near the average of fake logits, and vice versa", paper=PAPER)


register_recipes = beside(__file__, "lecam-mnist")
