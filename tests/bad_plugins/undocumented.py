"""Has no docstring, no documentation of its option, a bad summary and no paper."""

from ganzoo import AdversarialLoss, hookimpl


class Silent(AdversarialLoss):
    def __init__(self, *, slope: float = 1.0):
        super().__init__()
        self.slope = slope

    def discriminator(self, real, fake):
        return self.slope * (fake.mean() - real.mean())

    def generator(self, real, fake):
        return -self.slope * fake.mean()


@hookimpl
def register_losses(register):
    register("undocumented", Silent, summary="A loss.")
