"""Takes a weight, and has no penalty that it could weigh."""

from ganzoo import Regularizer, hookimpl


class NoPenalty(Regularizer):
    """Forgets to override penalty()."""


@hookimpl
def register_regularizers(register):
    register("no-penalty", NoPenalty, summary="A weight of nothing", paper="Someone 2020")
