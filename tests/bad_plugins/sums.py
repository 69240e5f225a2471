"""Sums over the batch instead of averaging."""

from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, hookimpl


class Sums(AdversarialLoss):
    """The non-saturating loss, summed."""

    def discriminator(self, real, fake):
        return softplus(-real).sum() + softplus(fake).sum()

    def generator(self, real, fake):
        return softplus(-fake).sum()


@hookimpl
def register_losses(register):
    register("sums", Sums, summary="Sums over the batch", paper="Someone 2020")
