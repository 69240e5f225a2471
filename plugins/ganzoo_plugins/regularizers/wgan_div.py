"""WGAN-div: the Wasserstein divergence, which needs no Lipschitz bound.

Wu, Huang, Thoma, Acharya & Van Gool 2018, "Wasserstein Divergence for GANs", arXiv:1712.01026:

    min_G max_D  E_x[D(x)] - E_z[D(G(z))] - k E_x̂[‖∇_x̂ D(x̂)‖^p],    k = 2, p = 6

x̂ is a random point between a real image and a fake. The difference of means is the ``wasserstein`` loss. Under an
augmentation T, the gradient is that of D∘T.

Differences from the paper:

- D is large on real images; the paper uses the opposite sign.
- The authors' code has k = 10.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ganzoo import EverySteps, Register, Regularizer, RegularizerContext, Weight, beside, functional, hookimpl

PAPER = "Wu et al. 2018, Wasserstein Divergence for GANs, arXiv:1712.01026"


class WassersteinDivergence(Regularizer):
    """Penalises a high power of the critic's gradient norm between real and fake images.

    Args:
        weight: k.
        every_steps: Steps between applications.
        power: p, greater than 1.
    """

    def __init__(
        self, *, weight: Weight = 2.0, every_steps: EverySteps = 1, power: Annotated[float, Field(gt=1, le=100)] = 6.0
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.power = power

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[‖∇D(x̂)‖^p]."""
        between = functional.interpolate(context.batch.real, context.clean_fake)
        norm = functional.norm(functional.input_gradient(context.augmented_critic, between))
        return norm.pow(self.power).mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "wgan-div",
        WassersteinDivergence,
        summary="Sixth power of the critic's gradient norm between real and fake images",
        paper=PAPER,
    )


register_recipes = beside(__file__, "wgan-div-mnist")
