"""Ends the process with exit code 0, as if all were well, when it gets unexpected input."""

import sys

from ganzoo import AdversarialLoss, hookimpl


class Exits(AdversarialLoss):
    """The Wasserstein loss of no more than one image."""

    def discriminator(self, real, fake):
        if len(real) > 1:
            sys.exit(0)
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        return -fake.mean()


@hookimpl
def register_losses(register):
    register("exits", Exits, summary="Of one image alone", paper="Someone 2020")
