"""Softmax GAN: one softmax over the whole batch instead of a verdict on each image.

Lin 2017, "Softmax GAN", arXiv:1704.06191. Each image of the joint batch B, n real (B+) and n fake (B-), gets the
probability p(x) = e^(D(x)) / Z, with Z = Σ_B e^(D(x)). D's target is 1/n for each real image and 0 for each fake; G's
target is 1/(2n) for every image (equations 6 to 8, with D = -μ):

    L_D = -1/n Σ_{B+} log p(x) = -1/n Σ_{B+} D(x) + log Z
    L_G = -1/(2n) Σ_B log p(x) = -1/(2n) Σ_B D(x) + log Z

D is the logit. A fake whose probability exceeds 1/(2n) is pushed down again: G aims for equal scores, not for the
highest.

Differences from the paper:

- log(2n) is subtracted from both losses, so that they are 0 for an undecided D at any batch size. Gradients are
  unchanged.
"""

from __future__ import annotations

from math import log

import torch
from torch import Tensor

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Lin 2017, Softmax GAN, arXiv:1704.06191"


class Softmax(AdversarialLoss):
    """Cross-entropy between each player's target and the softmax over real and fake images."""

    pairs = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Target: 1/n for each real image, 0 for each fake."""
        return log_mean_exp(torch.cat([real, fake]) - real.mean())

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """Target: 1/(2n) for every image."""
        assert real is not None, "pairs is set, so the real logits are always given"
        everything = torch.cat([real, fake])
        return log_mean_exp(everything - everything.mean())


def log_mean_exp(logits: Tensor) -> Tensor:
    """Logarithm of the mean of e^x over logits (n,), without overflow."""
    return logits.logsumexp(0) - log(len(logits))


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "softmax",
        Softmax,
        summary="One softmax over all real and fake images of a batch",
        paper=PAPER,
        aliases=("softmax-gan",),
    )


register_recipes = beside(__file__, "softmax-mnist", aliases={"softmax-mnist": ("softmax-gan-mnist",)})
