"""Geometric GAN: the generator moves along the normal of a support vector machine's hyperplane.

Lim & Ye 2017, "Geometric GAN", arXiv:1705.02894. D's last layer, D(x) = <w, φ(x)> + b, is a linear classifier of the
features φ. The paper finds it as a soft-margin SVM, whose primal form is

    min_{w, b}  1/2 ‖w‖² + C Σ_i [max(0, 1 - D(x_i)) + max(0, 1 + D(G(z_i)))]

φ minimises the same hinges, which moves features that violate the margin to their own side, and G minimises -E[<w,
φ(G(z))>], which moves fakes along the normal w. On the logits, that is the ``hinge`` loss for all three. Only the term
1/2 ‖w‖² is new: it keeps the margin 2/‖w‖ wide, and it is this module's regularizer. Because hinge averages where the
SVM sums, ``weight`` is 1/(n C), with n the batch size and C the paper's constant.

Differences from the paper:

- The SVM is not solved exactly: as in the authors' code, w and b take gradient steps with the rest of D.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.utils.parametrizations import _SpectralNorm

from ganzoo import (
    EverySteps,
    GanzooError,
    Networks,
    Register,
    Regularizer,
    RegularizerContext,
    Spec,
    Weight,
    beside,
    hookimpl,
)

PAPER = "Lim & Ye 2017, Geometric GAN, arXiv:1705.02894"


class SVMMargin(Regularizer):
    """Keeps the margin of the discriminator's last, linear layer wide. For use with the hinge loss.

    Args:
        weight: 1/(n C).
        every_steps: Steps between applications.
    """

    def __init__(self, *, weight: Weight = 0.01, every_steps: EverySteps = 1) -> None:
        super().__init__(weight=weight, every_steps=every_steps)

    def bind(self, spec: Spec, networks: Networks) -> None:
        """Refuse a discriminator that is not a linear classifier of its features, or whose normal cannot shrink."""
        layer = last_layer(networks["discriminator"])
        if layer is None:
            raise GanzooError(
                "'svm-margin' needs a discriminator whose head is one linear layer, but "
                f"'{type(networks['discriminator']).__module__}' has no such head.",
                "Use one such as 'dcgan' or 'mlp', without `conditioning: projection`, or leave the regularizer out.",
            )
        if any(isinstance(module, _SpectralNorm) for module in layer.modules()):
            raise GanzooError(
                "'svm-margin' can't widen a margin that spectral_norm fixes: the last layer's norm is always 1.",
                "Remove one of the two.",
            )

    def penalty(self, context: RegularizerContext) -> Tensor:
        """1/2 ‖w‖²."""
        layer = last_layer(context.networks["discriminator"])
        assert layer is not None, "bind refuses a discriminator without one"
        return layer.weight.square().sum() / 2


def last_layer(discriminator: nn.Module) -> nn.Linear | None:
    """A discriminator's head if it is one linear layer to a logit; None otherwise, e.g. with label projection."""
    head = getattr(discriminator, "head", nn.Identity())
    if any(isinstance(layer, nn.Embedding) for layer in head.modules()):
        return None
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    return linear[0] if len(linear) == 1 and linear[0].out_features == 1 else None


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("svm-margin", SVMMargin, summary="Half the squared norm of D's last layer, for a wide margin", paper=PAPER)


register_recipes = beside(__file__, "geometric-mnist")
