"""Fails where no check expects it, in the comparison of its side."""

from ganzoo import Regularizer, hookimpl


class Side:
    """Refuses to be compared."""

    def __eq__(self, other):
        raise ArithmeticError("no two sides are alike")

    __hash__ = None


class Unhashable(Regularizer):
    """Small logits."""

    side = Side()

    def penalty(self, context):
        return context.discriminate_real().square().mean()


@hookimpl
def register_regularizers(register):
    register("unhashable", Unhashable, summary="Small logits of somebody", paper="Someone 2020")
