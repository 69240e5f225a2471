"""R1 and R2: zero-centred gradient penalties, at real images and at fakes.

Mescheder, Geiger & Nowozin 2018, "Which Training Methods for GANs do actually Converge?", arXiv:1801.04406. Equations 9
and 10:

    R1 = γ/2 E_x[‖∇_x D(x)‖²]  at real images        R2 = γ/2 E_z[‖∇_x D(x)‖²]  at fakes x = G(z)

D is the logit. The regularizers include the factor 1/2, so a recipe's ``weight`` is γ, 10 in the paper. ``every_steps``
makes either penalty lazy; Karras et al. 2020 (StyleGAN2, arXiv:1912.04958) apply R1 every 16 steps.

Under an augmentation T, the gradient is that of D∘T at the image before T, as in StyleGAN2-ADA (arXiv:2006.06676) and
R3GAN (arXiv:2501.05441): where T hides pixels, D's gradient costs nothing. The penalty draws its own T.

Differences from the paper:

- The authors' code has no 1/2, so its 10 is a γ of 20.
- The paper's residual networks are not implemented.
"""

from __future__ import annotations

from torch import Tensor

from ganzoo import EverySteps, Register, Regularizer, RegularizerContext, Weight, beside, functional, hookimpl

PAPER = "Mescheder et al. 2018, Which Training Methods for GANs do actually Converge?, arXiv:1801.04406"


class R1(Regularizer):
    """Penalises the discriminator's gradient at real images.

    Args:
        weight: γ.
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: Weight = 10.0, every_steps: EverySteps = 1) -> None:
        super().__init__(weight=weight, every_steps=every_steps)

    def images(self, context: RegularizerContext) -> Tensor:
        return context.batch.real

    def penalty(self, context: RegularizerContext) -> Tensor:
        """1/2 E[‖∇D(x)‖²]."""
        gradient = functional.input_gradient(context.augmented_critic, self.images(context))
        return functional.squared_norm(gradient).mean() / 2


class R2(R1):
    """Penalises the discriminator's gradient at fakes.

    Args:
        weight: γ.
        every_steps: Steps between applications.
    """

    def images(self, context: RegularizerContext) -> Tensor:
        return context.clean_fake


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("r1", R1, summary="Squared gradient norm of D at real images", paper=PAPER)
    register("r2", R2, summary="Squared gradient norm of D at fake images", paper=PAPER)


register_recipes = beside(__file__, "r1-mnist")
