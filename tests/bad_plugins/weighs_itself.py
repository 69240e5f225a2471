"""Applies its weight itself, which ganzoo does too."""

from ganzoo import Regularizer, hookimpl


class WeighsItself(Regularizer):
    """Keeps logits small."""

    def penalty(self, context):
        return self.weight * context.discriminate_real().square().mean()


@hookimpl
def register_regularizers(register):
    register("weighs-itself", WeighsItself, summary="Small logits, weighted twice", paper="Someone 2020")
