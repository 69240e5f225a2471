"""Boundary-seeking GAN, for continuous data.

Hjelm et al. 2018, "Boundary-Seeking Generative Adversarial Networks", arXiv:1702.08431. D's loss is the original GAN's.
For the optimal D, D/(1 - D) is the density ratio of data to fakes, 1 where the two agree, so G moves its fakes to D's
decision boundary:

    min_G  1/2 E_z[(log D(G(z)) - log(1 - D(G(z))))²]

With D = σ(s), the difference of logs is the logit s, and the loss is E[s²]/2: no exponential can overflow, and the
gradient grows with the distance from the boundary, on either side.

Differences from the paper:

- The authors' code has no factor 1/2.
- Its variants for images are not implemented: s - log Z squared, with log Z a moving average of the batch's log E[e^s],
  so that G seeks the level where the ratio, divided by its mean over fakes, is 1 (its default); and the cross-entropy
  of σ(s) with a target of 1/2, softplus(-s) + s/2.
- Nor is the form for discrete data, the other half of the paper: it weights the log-likelihoods of samples, which
  continuous pixels do not have, by normalised ratios.
"""

from __future__ import annotations

from torch import Tensor

from ganzoo import AdversarialLoss, Register, beside, hookimpl
from ganzoo_plugins.losses.vanilla import Minimax

PAPER = "Hjelm et al. 2018, Boundary-Seeking Generative Adversarial Networks, arXiv:1702.08431"


class BoundarySeeking(Minimax):
    """The original discriminator's loss, and a generator that makes D undecided."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """1/2 E[s²]."""
        return fake.square().mean() / 2


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "boundary-seeking",
        BoundarySeeking,
        summary="G seeks the boundary where D is undecided",
        paper=PAPER,
        aliases=("bgan", "bsgan"),
    )


register_recipes = beside(__file__, "boundary-seeking-mnist", aliases={"boundary-seeking-mnist": ("bgan-mnist",)})
