"""Wasserstein GAN with gradient penalty.

Arjovsky, Chintala & Bottou 2017, "Wasserstein GAN", arXiv:1701.07875, equation 2, for the loss, and Gulrajani et al.
2017, "Improved Training of Wasserstein GANs", arXiv:1704.00028, equation 3, for the penalty:

    max_D  E_x[D(x)] - E_z[D(G(z))]        max_G  E_z[D(G(z))]

    λ E_x̂[(‖∇_x̂ D(x̂)‖₂ - 1)²],    x̂ = εx + (1 - ε)G(z),  ε ~ U(0, 1) for each pair,  λ = 10

The maximum over all 1-Lipschitz D is the earth mover's distance. The penalty is a regularizer of its own, and works
with any loss. Under an augmentation T, the gradient is that of D∘T, at points x̂ between unaugmented images. The first
paper's weight clipping is in the module weight_clipping.

Differences from the paper:

- Pixels are in [-1, 1]. Only the authors' code for MNIST has [0, 1]: its λ = 10 and norm of 1 are λ = 40 and a norm of
  1/2 here.
- The second paper's convolutional and residual networks are not implemented.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from ganzoo import (
    AdversarialLoss,
    EverySteps,
    Register,
    Regularizer,
    RegularizerContext,
    Scale,
    Weight,
    beside,
    functional,
    hookimpl,
)

WGAN = "Arjovsky, Chintala & Bottou 2017, Wasserstein GAN, arXiv:1701.07875"
WGAN_GP = "Gulrajani et al. 2017, Improved Training of Wasserstein GANs, arXiv:1704.00028"


class Wasserstein(AdversarialLoss):
    """The difference of the critic's means. Needs a regularizer that bounds the critic's gradient."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(G(z))] - E[D(x)]."""
        return fake.mean() - real.mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-E[D(G(z))]."""
        return -fake.mean()


class GradientPenalty(Regularizer):
    """Pulls the norm of the critic's gradient between real and fake images to ``target``.

    Args:
        weight: λ.
        every_steps: Steps between applications.
        target: The gradient norm that costs nothing; 1 in the paper.
        one_sided: Penalise only norms above ``target`` (section 4, "Two-sided penalty", discusses both).
    """

    def __init__(
        self, *, weight: Weight = 10.0, every_steps: EverySteps = 1, target: Scale = 1.0, one_sided: bool = False
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.target = target
        self.one_sided = one_sided

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(‖∇D(x̂)‖ - target)²] at one random point between each real image and a fake."""
        between = functional.interpolate(context.batch.real, context.clean_fake)
        gradient = functional.input_gradient(context.augmented_critic, between)
        excess = functional.norm(gradient) - self.target
        return (relu(excess) if self.one_sided else excess).square().mean()


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "wasserstein",
        Wasserstein,
        summary="Difference between the critic's means on real images and fakes",
        paper=WGAN,
        aliases=("wgan", "wgan-gp", "wgan-lp", "emd"),
    )


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "gradient-penalty",
        GradientPenalty,
        summary="A critic gradient of norm 1 between real images and fakes",
        paper=WGAN_GP,
        aliases=("gp", "wgan-gp"),
    )


register_recipes = beside(__file__, "wgan-gp-mnist")
