"""Makes a tensor on the CPU, whatever the device of the logits."""

import torch

from ganzoo import AdversarialLoss, hookimpl


class Weighted(AdversarialLoss):
    """Weighs images, each by a number from 0 to 1."""

    def discriminator(self, real, fake):
        weights = torch.linspace(0, 1, len(real))
        return (weights * (fake - real)).mean()

    def generator(self, real, fake):
        return -fake.mean()


@hookimpl
def register_losses(register):
    register("stays-on-cpu", Weighted, summary="Weighs images", paper="Someone 2020")
