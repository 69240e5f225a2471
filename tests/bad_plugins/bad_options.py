"""An interval that goes nowhere, a factory that cannot be called, and a loss of which nothing is said."""

import torch

from ganzoo import AdversarialLoss, Dataset, Regularizer, hookimpl


class Bare(AdversarialLoss):
    def discriminator(self, real, fake):
        return fake.mean() - real.mean()

    def generator(self, real, fake):
        return -fake.mean()


class NeverLazy(Regularizer):
    """Takes an interval, and keeps it to itself.

    Args:
        weight: Factor.
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: float = 1.0, every_steps: int = 1):
        super().__init__(weight=weight)

    def penalty(self, context):
        return context.discriminate_real().square().mean()


def without_folder(split):
    """Noise, from nowhere."""
    return Dataset("without-folder", split, torch.zeros(4, 1, 4, 4, dtype=torch.uint8))


@hookimpl
def register_losses(register):
    register("bare", Bare, summary="Wasserstein, without a word", paper="Someone, somewhere")


@hookimpl
def register_regularizers(register):
    register("never-lazy", NeverLazy, summary="Small logits, always", paper="Someone 2020")


@hookimpl
def register_datasets(register):
    register("without-folder", without_folder, summary="Black images")
