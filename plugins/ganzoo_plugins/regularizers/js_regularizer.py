"""The JS-regularizer: a gradient penalty that does the work of noise on the images.

Roth, Lucchi, Nowozin & Hofmann 2017, "Stabilizing Training of Generative Adversarial Networks through Regularization",
arXiv:1705.09367, algorithm 1. To first order in γ and near D's optimum, Gaussian noise of variance γ on all images adds
γ/2 Ω to D's loss. For the original GAN, with the logit D and the probability σ(D),

    Ω = E_x[(1 - σ(D(x)))² ‖∇_x D(x)‖²] + E_z[σ(D(x))² ‖∇_x D(x)‖²]        x = G(z) in the second term
      = E_x[‖∇_x softplus(-D(x))‖²] + E_z[‖∇_x softplus(D(x))‖²]

The second line, the squared gradient norms of D's loss at each image, is what is computed. An image that D judges
correctly and confidently costs little, unlike in R1, which has the first term without its factor. The penalty includes
the factor 1/2, so a recipe's ``weight`` is γ; the paper recommends 0.1, or a schedule that decays exponentially from 2
to 0.02. Under an augmentation T, the gradient is that of D∘T, and σ that of the same draw of T.

Differences from the paper:

- Ω is that of the original GAN only; the paper also derives those of other f-divergences.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganzoo import EverySteps, Register, Regularizer, RegularizerContext, Weight, beside, functional, hookimpl

PAPER = "Roth et al. 2017, Stabilizing Training of GANs through Regularization, arXiv:1705.09367"


class JSRegularizer(Regularizer):
    """Penalises the discriminator's gradient at real images and fakes, most where it is wrong.

    Args:
        weight: γ, the variance of the noise that the penalty stands for, with pixels in [-1, 1].
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: Weight = 0.1, every_steps: EverySteps = 1) -> None:
        super().__init__(weight=weight, every_steps=every_steps)

    def penalty(self, context: RegularizerContext) -> Tensor:
        """Ω/2."""
        real = functional.input_gradient(lambda x: softplus(-context.augmented_critic(x)), context.batch.real)
        fake = functional.input_gradient(lambda x: softplus(context.augmented_critic(x)), context.clean_fake)
        return (functional.squared_norm(real).mean() + functional.squared_norm(fake).mean()) / 2


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "js-regularizer",
        JSRegularizer,
        summary="Gradient norm of D weighted by its error, as if the images had noise",
        paper=PAPER,
        aliases=("roth",),
    )


register_recipes = beside(__file__, "js-regularizer-mnist")
