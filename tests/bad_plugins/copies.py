"""Copies a number to the device in every step."""

import torch

from ganzoo import AdversarialLoss, hookimpl


class Margin(AdversarialLoss):
    """Asks for a margin of one."""

    def discriminator(self, real, fake):
        margin = torch.tensor([1.0], device=real.device)
        return (margin - real).relu().mean() + (margin + fake).relu().mean()

    def generator(self, real, fake):
        return -fake.mean()


@hookimpl
def register_losses(register):
    register("copies", Margin, summary="A hinge loss", paper="Someone 2020")
