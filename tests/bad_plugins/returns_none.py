"""Computes the generator's loss and does not return it."""

from ganzoo import AdversarialLoss, hookimpl


class ReturnsNone(AdversarialLoss):
    """The Wasserstein loss, half of it."""

    def discriminator(self, real, fake):
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        -fake.mean()


@hookimpl
def register_losses(register):
    register("returns-none", ReturnsNone, summary="Half a loss", paper="Someone 2020")
