"""Pushes logits of real images down and those of fakes up."""

from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, hookimpl


class UpsideDown(AdversarialLoss):
    """The non-saturating loss with each sign flipped."""

    def discriminator(self, real, fake):
        return softplus(real).mean() + softplus(-fake).mean()

    def generator(self, real, fake):
        return softplus(fake).mean()


@hookimpl
def register_losses(register):
    register("upside-down", UpsideDown, summary="Every sign flipped", paper="Someone 2020")
