"""Belongs to a player whose name ganzoo does not know."""

from ganzoo import Regularizer, hookimpl


class CriticSide(Regularizer):
    """Small logits."""

    side = "critic"

    def penalty(self, context):
        return context.discriminate_real().square().mean()


@hookimpl
def register_regularizers(register):
    register("critic-side", CriticSide, summary="Small logits of a critic", paper="Someone 2020")
