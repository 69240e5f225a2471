"""Returns one loss for each image."""

from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, hookimpl


class ForgetsMean(AdversarialLoss):
    """The non-saturating loss, not averaged."""

    def discriminator(self, real, fake):
        return softplus(-real) + softplus(fake)

    def generator(self, real, fake):
        return softplus(-fake)


@hookimpl
def register_losses(register):
    register("forgets-mean", ForgetsMean, summary="Not averaged", paper="Someone 2020")
