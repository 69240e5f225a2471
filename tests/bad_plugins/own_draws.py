"""Draws from the operating system, which nobody can seed; its recipe trains differently each time."""

import random
from pathlib import Path

from ganzoo import AdversarialLoss, hookimpl


class OwnDraws(AdversarialLoss):
    """The Wasserstein loss with a slope that is drawn anew each time."""

    def discriminator(self, real, fake):
        return (fake.mean() - real.mean()) * (1 + random.SystemRandom().random())

    def generator(self, real, fake):
        return -fake.mean() * (1 + random.SystemRandom().random())


@hookimpl
def register_losses(register):
    register("own-draws", OwnDraws, summary="Wasserstein with a random slope", paper="Someone 2020")


@hookimpl
def register_recipes(register):
    register(Path(__file__).with_name("own-draws-mnist.yaml"))
