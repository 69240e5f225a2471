"""Reuses the name of a first-party loss."""

from ganzoo import AdversarialLoss, hookimpl


@hookimpl
def register_losses(register):
    register("non-saturating", AdversarialLoss, summary="Another loss of this name")
