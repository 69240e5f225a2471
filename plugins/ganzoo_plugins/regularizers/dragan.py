"""DRAGAN: a gradient penalty around the data only.

Kodali, Abernethy, Hays & Kira 2017, "On Convergence and Stability of GANs", arXiv:1705.07215:

    λ E_{x, δ}[(‖∇_x D(x + δ)‖₂ - k)²],    λ = 10, k = 1

so the norm of D's gradient stays near 1 around real images, and G always gets a gradient there. D is the logit; under
an augmentation T, the gradient is that of D∘T.

Differences from the paper:

- The paper's δ is Gaussian, N(0, c I). Here, as in the authors' code, δ = α σ u with σ = ``strength`` (0.5) times the
  standard deviation of all pixels in the batch, u ~ U(0, 1) for each pixel and α ~ U(0, 1) for each image: pixels only
  become brighter.
- Pixels are in [-1, 1], in the authors' notebook in [0, 1], where the same D has twice the gradient. The notebook's λ =
  10 and k = 1 correspond to λ = 40 and k = 0.5 here, which the recipe sets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ganzoo import (
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

PAPER = "Kodali et al. 2017, On Convergence and Stability of GANs, arXiv:1705.07215"


class Dragan(Regularizer):
    """Pulls the norm of the discriminator's gradient around real images towards ``target``.

    Args:
        weight: λ.
        every_steps: Steps between applications.
        strength: Size of the perturbation, in standard deviations of the batch's pixels.
        target: k, the gradient norm with no penalty.
    """

    def __init__(
        self,
        *,
        weight: Weight = 10.0,
        every_steps: EverySteps = 1,
        strength: Scale = 0.5,
        target: Scale = 1.0,
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.strength = strength
        self.target = target

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(‖∇D(x + δ)‖ - k)²]."""
        real = context.batch.real
        perturbed = real + self.strength * real.std() * torch.rand_like(real)
        near = functional.interpolate(real, perturbed)
        norm = functional.norm(functional.input_gradient(context.augmented_critic, near))
        return (norm - self.target).square().mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("dragan", Dragan, summary="Gradient norm of 1 around real images", paper=PAPER)


register_recipes = beside(__file__, "dragan-mnist")
