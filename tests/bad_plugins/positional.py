"""Takes its option by position, so that no recipe can set it."""

from ganzoo import AdversarialLoss, hookimpl


class Positional(AdversarialLoss):
    """The Wasserstein loss, times a factor.

    Args:
        factor: Multiplies it.
    """

    def __init__(self, factor: float = 1.0):
        super().__init__()
        self.factor = factor

    def discriminator(self, real, fake):
        return self.factor * (fake.mean() - real.mean())

    def generator(self, real, fake):
        return -self.factor * fake.mean()


@hookimpl
def register_losses(register):
    register("positional", Positional, summary="The Wasserstein loss, times a factor", paper="Nobody 2020")
