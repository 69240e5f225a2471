"""Decides by a tensor's value."""

from ganzoo import Regularizer, hookimpl


class Sometimes(Regularizer):
    """Holds back only a critic that is ahead."""

    def penalty(self, turn):
        gap = turn.judge_real().mean() - turn.judge_fake().mean()
        if gap > 0:
            return gap.square()
        return gap * 0


@hookimpl
def register_regularizers(register):
    register("branches", Sometimes, summary="A penalty now and then", paper="Someone 2020")
