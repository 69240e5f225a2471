"""Takes the logarithm of a sigmoid, which is -inf for large negative logits."""

import torch

from ganzoo import AdversarialLoss, hookimpl


class Naive(AdversarialLoss):
    """Equation 1 of the original paper, without a stable form."""

    def discriminator(self, real, fake):
        return -(torch.sigmoid(real).log().mean() + (1 - torch.sigmoid(fake)).log().mean())

    def generator(self, real, fake):
        return -torch.sigmoid(fake).log().mean()


@hookimpl
def register_losses(register):
    register("nan-loss", Naive, summary="Logarithm of a sigmoid", paper="Goodfellow et al. 2014")
