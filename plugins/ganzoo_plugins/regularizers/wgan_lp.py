"""WGAN-LP: the critic may be flatter than the Lipschitz bound, but not steeper.

Petzka, Fischer & Lukovnikov 2018, "On the regularization of Wasserstein GANs", arXiv:1709.08894. The penalty is

    λ E_x̂[max(0, ‖∇_x̂ D(x̂)‖₂ - 1)²],    λ = 10

with x̂ a random point between a real image and a fake. WGAN-GP also penalises gradient norms below 1, which an optimal
critic may well have. This is the ``gradient-penalty`` of the module wgan_gp with ``one_sided: true``, under the name of
the paper that argues for it. Under an augmentation T, the gradient is that of D∘T.

Differences from the paper:

- Pixels are in [-1, 1], in the authors' code for MNIST in [0, 1]; its λ = 10 and norm of 1 correspond to λ = 40 and a
  norm of 1/2 here.
- The paper also tries x̂ around the data, as in DRAGAN; that variant is not implemented.
"""

from __future__ import annotations

from ganzoo import EverySteps, Register, Regularizer, Scale, Weight, beside, hookimpl
from ganzoo_plugins.losses.wgan_gp import GradientPenalty

PAPER = "Petzka, Fischer & Lukovnikov 2018, On the regularization of Wasserstein GANs, arXiv:1709.08894"


class LipschitzPenalty(GradientPenalty):
    """Penalises norms of the critic's gradient above ``target`` between real and fake images.

    Args:
        weight: λ. The paper finds results less sensitive to it than to the weight of WGAN-GP.
        every_steps: Steps between applications.
        target: The largest gradient norm that costs nothing; 1 in the paper.
    """

    def __init__(self, *, weight: Weight = 10.0, every_steps: EverySteps = 1, target: Scale = 1.0) -> None:
        super().__init__(weight=weight, every_steps=every_steps, target=target, one_sided=True)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "lipschitz-penalty",
        LipschitzPenalty,
        summary="A critic gradient of norm at most 1 between real and fake images",
        paper=PAPER,
        aliases=("lp", "wgan-lp"),
    )


register_recipes = beside(__file__, "lipschitz-penalty-mnist", aliases={"lipschitz-penalty-mnist": ("wgan-lp-mnist",)})
