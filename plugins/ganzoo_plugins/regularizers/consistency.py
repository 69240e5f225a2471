"""Consistency regularization: D should give a real image and a slightly changed copy the same logit.

Zhang, Zhang, Odena & Lee 2020, "Consistency Regularization for Generative Adversarial Networks", arXiv:1910.12027.
Applied to the last layer only, which the paper finds sufficient, and only in D's loss:

    λ E_x[(D(x) - D(T(x)))²],    λ = 10

T shifts an image by up to ``shift`` pixels in each direction and repeats its edge pixels.

Differences from the paper:

- The paper also mirrors images, but a mirrored digit is not a digit.
"""

from __future__ import annotations

from torch import Tensor

from ganzoo import EverySteps, Register, Regularizer, RegularizerContext, Shift, Weight, beside, hookimpl
from ganzoo.layers import random_shift

PAPER = "Zhang et al. 2020, Consistency Regularization for Generative Adversarial Networks, arXiv:1910.12027"


class Consistency(Regularizer):
    """Ties the logits of real images to those of shifted copies.

    Args:
        weight: λ.
        every_steps: Steps between applications.
        shift: Largest shift in pixels.
    """

    images_only = True

    def __init__(self, *, weight: Weight = 10.0, every_steps: EverySteps = 1, shift: Shift = 4) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.shift = shift

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(D(x) - D(T(x)))²]."""
        changed = context.critic(random_shift(context.real, self.shift, self.shift))
        return (context.discriminate_real() - changed).square().mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "consistency",
        Consistency,
        summary="Same logit for a real image and its shifted copy",
        paper=PAPER,
        aliases=("cr", "crgan"),
    )


register_recipes = beside(__file__, "consistency-mnist", aliases={"consistency-mnist": ("crgan-mnist",)})
