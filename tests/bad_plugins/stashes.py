"""Keeps its last penalty, with the whole graph, to look at it later."""

from ganzoo import Regularizer, hookimpl


class Stashes(Regularizer):
    """Small logits."""

    def penalty(self, context):
        self.last = context.discriminate_real().square().mean()
        return self.last


@hookimpl
def register_regularizers(register):
    register("stashes", Stashes, summary="Small logits, remembered", paper="Someone 2020")
