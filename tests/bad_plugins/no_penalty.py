"""Takes a weight, but has no penalty."""

from ganzoo import Regularizer, hookimpl


class NoPenalty(Regularizer):
    """Forgets to override penalty()."""


@hookimpl
def register_regularizers(register):
    register("no-penalty", NoPenalty, summary="A weight of nothing", paper="Someone 2020")
