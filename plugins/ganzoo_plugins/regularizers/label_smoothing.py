"""One-sided label smoothing: D's target for real images is 1 - s instead of 1.

Salimans et al. 2016, "Improved Techniques for Training GANs", arXiv:1606.03498, section 3.4. The target of D's
cross-entropy on real images becomes 1 - s; that on fakes stays 0. With D(x) the logit,

    BCE(σ(D(x)), 1 - s) = softplus(-D(x)) + s D(x)

so smoothing is the ordinary loss plus the penalty s E[D(x)]: a regularizer whose ``weight`` is s. The optimal D then
never exceeds log((1 - s) / s), instead of growing without limit; at equilibrium, σ(D(x)) is (1 - s) / 2. This holds for
the cross-entropy losses, ``non-saturating`` and ``minimax``. With any other loss, the term only pulls real logits down.

Differences from the paper:

- The authors' code smooths only on ImageNet, with s = 0.25, and also gives G's cross-entropy the target (1 - s) / 2;
  here G's loss is unchanged.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ganzoo import Register, Regularizer, RegularizerContext, beside, hookimpl

PAPER = "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498"


class LabelSmoothing(Regularizer):
    """The term that smoothing adds to the cross-entropy of real images.

    Args:
        weight: s, in [0, 1). The paper's example has a target of 0.9 for real images.
    """

    def __init__(self, *, weight: Annotated[float, Field(ge=0, lt=1)] = 0.1) -> None:
        super().__init__(weight=weight)

    def penalty(self, context: RegularizerContext) -> Tensor:
        """E[D(x)]."""
        return context.discriminate_real().mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("label-smoothing", LabelSmoothing, summary="D's target for real images is 1 - weight", paper=PAPER)


register_recipes = beside(__file__, "label-smoothing-mnist")
