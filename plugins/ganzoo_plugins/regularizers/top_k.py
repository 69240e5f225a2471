"""Top-k training: the generator learns only from its k best fakes.

Sinha, Zhao, Goyal, Raffel & Odena 2020, "Top-k Training of GANs: Improving GAN Performance by Throwing Away Bad
Samples", arXiv:2002.06224. In the generator's loss, only the k largest of the batch's B logits count:

    L_G = 1/k Σ_{i in top k} f(D(G(z_i)))

k starts at B and shrinks by a factor γ every epoch, down to ν B. The paper tries γ from 0.75 to 0.999 and ν from 0.5 to
0.75; γ = 0.99 and ν = 0.5 are the defaults here.

The other fakes stay in the batch without a gradient, and the gradient of the k best is multiplied by B / k, which makes
it exactly that of the mean over k, whatever f is. So losses that compare a logit with all fakes (relativistic average,
softmax) or with real images in pairs also work, and shapes never depend on k. The logged loss is the mean over all B.
Top-k adds no term to the loss, so it has no ``weight``.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import ImageCount, Register, Regularizer, beside, hookimpl

PAPER = "Sinha et al. 2020, Top-k Training of GANs, arXiv:2002.06224"


class TopK(Regularizer):
    """Zeroes the gradient of all fakes but the k with the largest logits.

    Args:
        share: ν, the smallest k as a share of the batch. 1 changes nothing.
        decay: γ, the factor by which k shrinks after each epoch.
        images: Fakes in an epoch; 60,000 for MNIST.
    """

    side = "generator"
    seen: Tensor

    def __init__(
        self,
        *,
        share: Annotated[float, Field(gt=0, le=1)] = 0.5,
        decay: Annotated[float, Field(ge=0, le=1)] = 0.99,
        images: ImageCount = 60_000,
    ) -> None:
        super().__init__()
        self.share = share
        self.decay = decay
        self.images = images
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def size(self, batch_size: int) -> Tensor:
        """k, a whole number in [1, batch_size] as a float32 scalar."""
        epochs = self.seen.div(self.images, rounding_mode="floor")
        left = torch.pow(self.decay, epochs.float()).clamp(min=self.share)
        return (batch_size * left).round().clamp(min=1)

    def select(self, fake_logits: Tensor) -> Tensor:
        """The logits (n,), with a gradient only in the k largest."""
        n = len(fake_logits)
        k = self.size(n)
        rank = fake_logits.detach().argsort(descending=True).argsort()
        factor = torch.where(rank < k, n / k, 0.0)
        self.seen += n * self.processes
        kept = fake_logits.detach()
        return kept + (fake_logits - kept) * factor


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("top-k", TopK, summary="G learns only from the fakes with the largest logits", paper=PAPER)


register_recipes = beside(__file__, "top-k-mnist")
