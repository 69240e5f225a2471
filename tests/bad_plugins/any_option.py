"""Has an option whose type admits every value."""

from typing import Any

from ganzoo import AdversarialLoss, hookimpl


class AnyOption(AdversarialLoss):
    """The Wasserstein loss with a slope.

    Args:
        slope: Multiplies each logit.
    """

    def __init__(self, *, slope: Any = 1.0):
        super().__init__()
        self.slope = slope

    def discriminator(self, real, fake):
        return self.slope * (fake.mean() - real.mean())

    def generator(self, real, fake):
        return -self.slope * fake.mean()


@hookimpl
def register_losses(register):
    register("any-option", AnyOption, summary="Wasserstein with a slope", paper="Someone 2020")
