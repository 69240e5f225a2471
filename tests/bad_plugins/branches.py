"""Branches on a tensor's value."""

from ganzoo import Regularizer, hookimpl


class Sometimes(Regularizer):
    """Penalises a critic only while it is ahead."""

    def penalty(self, context):
        gap = context.discriminate_real().mean() - context.discriminate_fake().mean()
        if gap > 0:
            return gap.square()
        return gap * 0


@hookimpl
def register_regularizers(register):
    register("branches", Sometimes, summary="A conditional penalty", paper="Someone 2020")
