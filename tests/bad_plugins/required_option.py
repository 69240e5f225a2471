"""Has a required option, and one with a short name whose type admits every value."""

from typing import Any

from ganzoo import AdversarialLoss, hookimpl


class Required(AdversarialLoss):
    """The Wasserstein loss with a slope.

    Args:
        slope: Multiplies each logit.
        p: Anything.
    """

    def __init__(self, *, slope: float, p: Any = 1.0):
        super().__init__()
        self.slope = slope

    def discriminator(self, real, fake):
        return self.slope * (fake.mean() - real.mean())

    def generator(self, real, fake):
        return -self.slope * fake.mean()


@hookimpl
def register_losses(register):
    register("required-option", Required, summary="Wasserstein with a slope", paper="Someone 2020")
