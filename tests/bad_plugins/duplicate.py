"""Takes a name that is ours."""

from ganzoo import AdversarialLoss, hookimpl


@hookimpl
def register_losses(register):
    register("non-saturating", AdversarialLoss, summary="Another one of that name")
