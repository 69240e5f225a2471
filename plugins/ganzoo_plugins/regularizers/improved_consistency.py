"""Improved consistency regularization: balanced (bCR), latent (zCR), or both together (ICR).

Zhao, Singh, Lee, Zhang, Odena & Zhang 2021, "Improved Consistency Regularization for GANs", arXiv:2002.04724. Algorithm
1, bCR, adds to D's loss:

    λ_real E_x[(D(x) - D(T(x)))²] + λ_fake E_z[(D(G(z)) - D(T(G(z))))²],    λ_real = λ_fake = 10

Algorithm 2, zCR, adds to both players' losses, with z' = z + N(0, σ²) and σ = 0.03:

    D:  λ_dis E_z[(D(G(z)) - D(G(z')))²],   λ_dis = 5         G:  -λ_gen E_z[‖G(z) - G(z')‖²],   λ_gen = 0.5

D learns to ignore small moves in latent space, and G is rewarded for making them visible, which makes its images more
diverse. A recipe lists ``latent-consistency``, D's part, and ``latent-diversity``, G's; for ICR, also
``balanced-consistency``. T shifts as in the module consistency. The settings are for a spectrally normalised DCGAN on
CIFAR-10; for BigGAN, PyTorch-StudioGAN's ICR has σ = 0.05 and λ_dis = 20, and the same λ_real, λ_fake and λ_gen.

Differences from the paper:

- G's squared norm is a mean over pixels, as in PyTorch-StudioGAN, so that a weight means the same at any image size.
  The equation's sum would multiply G's part by the number of pixels.
- The paper's T also mirrors.
- Under an augmentation, D's part compares G(z) and G(z') without it: augmenting each at random would change the images
  more than the move to z' does.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import mse_loss

from ganzoo import (
    EverySteps,
    Register,
    Regularizer,
    RegularizerContext,
    Shift,
    Weight,
    beside,
    hookimpl,
)
from ganzoo.layers import random_shift

PAPER = "Zhao et al. 2021, Improved Consistency Regularization for GANs, arXiv:2002.04724"

Sigma = Annotated[float, Field(ge=0, le=1e3)]


class BalancedConsistency(Regularizer):
    """Ties the logits of real images and of fakes to those of shifted copies.

    Args:
        weight: λ_real.
        every_steps: Steps between applications.
        fake_share: λ_fake / λ_real.
        shift: Largest shift in pixels.
    """

    images_only = True

    def __init__(
        self,
        *,
        weight: Weight = 10.0,
        every_steps: EverySteps = 1,
        fake_share: Weight = 1.0,
        shift: Shift = 4,
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.fake_share = fake_share
        self.shift = shift

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(D(x) - D(T(x)))²] + λ_fake / λ_real E[(D(G(z)) - D(T(G(z))))²]."""
        real = context.discriminate_real() - context.critic(random_shift(context.real, self.shift, self.shift))
        fake = context.discriminate_fake() - context.critic(random_shift(context.fake, self.shift, self.shift))
        return real.square().mean() + self.fake_share * fake.square().mean()


class LatentConsistency(Regularizer):
    """Ties the logits of fakes to those of fakes from nearby codes.

    Args:
        weight: λ_dis.
        every_steps: Steps between applications.
        sigma: σ of the move in latent space.
    """

    def __init__(self, *, weight: Weight = 5.0, every_steps: EverySteps = 1, sigma: Sigma = 0.03) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.sigma = sigma

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[(D(G(z)) - D(G(z')))²], without gradients for the generator."""
        with torch.no_grad():
            near = context.generate(_moved(context.batch.z, self.sigma))
        augmented = context.clean_fake is not context.fake
        here = context.critic(context.clean_fake) if augmented else context.discriminate_fake()
        return (here - context.critic(near)).square().mean()


class LatentDiversity(Regularizer):
    """Rewards the generator for drawing different images from nearby codes.

    Args:
        weight: λ_gen.
        every_steps: Steps between applications.
        sigma: σ of the move in latent space.
    """

    side = "generator"

    def __init__(self, *, weight: Weight = 0.5, every_steps: EverySteps = 1, sigma: Sigma = 0.03) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.sigma = sigma

    def penalty(self, context: RegularizerContext) -> Tensor:
        """-E[‖G(z) - G(z')‖²], averaged over pixels."""
        near = context.generate(_moved(context.batch.z, self.sigma))
        return -mse_loss(context.clean_fake.float(), near.float())


def _moved(z: Tensor, sigma: float) -> Tensor:
    return z + sigma * torch.randn_like(z)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register(
        "balanced-consistency",
        BalancedConsistency,
        summary="Same logit for an image, real or fake, and its shifted copy",
        paper=PAPER,
        aliases=("bcr",),
    )
    register(
        "latent-consistency",
        LatentConsistency,
        summary="Same logit for fakes from nearby codes",
        paper=PAPER,
        aliases=("zcr",),
    )
    register("latent-diversity", LatentDiversity, summary="G draws different images from nearby codes", paper=PAPER)


register_recipes = beside(
    __file__,
    "balanced-consistency-mnist",
    "latent-consistency-mnist",
    aliases={"balanced-consistency-mnist": ("bcr-mnist",), "latent-consistency-mnist": ("zcr-mnist",)},
)
