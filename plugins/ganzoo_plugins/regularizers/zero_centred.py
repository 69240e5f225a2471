"""A zero-centred gradient penalty between real and fake images.

Thanh-Tung, Tran & Venkatesh 2019, "Improving Generalization and Stability of Generative Adversarial Networks",
arXiv:1902.03984 (GAN-0-GP):

    λ E_x̂[‖∇_x̂ D(x̂)‖²],    x̂ = αx + (1 - α)G(z),  α ~ U(0, 1)

WGAN-GP pulls the gradient norm to 1; this penalty pulls it to 0, so that D generalises instead of peaking at each
training image. R1 is half of this penalty at α = 1. Under an augmentation T, the gradient is that of D∘T.

Differences from the paper:

- D is the logit, as in the code of Mescheder et al. that the authors used for ImageNet. In their own, for synthetic
  data and MNIST, it is a probability, whose gradient is σ(1 - σ) times the logit's: 1/4 of it where D is undecided, and
  less where D is confident.
- For the probability, λ is as large as 100 in the paper, and by default 10 in the authors' script for synthetic data
  and 500 in that for MNIST, on standardised pixels (-0.42 to 2.82). That is 190 on pixels in [-1, 1], and 190/16, about
  12, for the logit, which the recipe has.
"""

from __future__ import annotations

from torch import Tensor

from ganzoo import EverySteps, Register, Regularizer, RegularizerContext, Weight, beside, functional, hookimpl

PAPER = "Thanh-Tung et al. 2019, Improving Generalization and Stability of GANs, arXiv:1902.03984"


class ZeroCentredPenalty(Regularizer):
    """Penalises the discriminator's gradient between real and fake images.

    Args:
        weight: λ.
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: Weight = 10.0, every_steps: EverySteps = 1) -> None:
        super().__init__(weight=weight, every_steps=every_steps)

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[‖∇D(x̂)‖²]."""
        between = functional.interpolate(context.batch.real, context.clean_fake)
        return functional.squared_norm(functional.input_gradient(context.augmented_critic, between)).mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "zero-centred-penalty",
        ZeroCentredPenalty,
        summary="Squared gradient norm of D between real and fake images",
        paper=PAPER,
        aliases=("gp0", "zero-centered-penalty", "zero-gp"),
    )


register_recipes = beside(__file__, "zero-centred-penalty-mnist")
