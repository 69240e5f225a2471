"""Reads the loss in every step to log it."""

from ganzoo import AdversarialLoss, hookimpl


class Chatty(AdversarialLoss):
    """Keeps its last value."""

    def discriminator(self, real, fake):
        loss = fake.mean() - real.mean()
        self.last = loss.item()
        return loss

    def generator(self, real, fake):
        return -fake.mean()


@hookimpl
def register_losses(register):
    register("item-in-loss", Chatty, summary="Reads its value", paper="Someone 2020")
