"""Geometric GAN: the generator moves along the normal of a support vector machine's hyperplane.

Lim & Ye 2017, "Geometric GAN", arXiv:1705.02894. D's last layer, D(x) = <w, φ(x)> + b, is a linear classifier of the
features φ. It is found as a soft-margin SVM, the primal form being

    min_{w, b}  1/2 ‖w‖² + C Σ_i [max(0, 1 - D(x_i)) + max(0, 1 + D(G(z_i)))]

φ lowers the same hinges, which moves features that violate the margin to their side, and G minimises -E[<w, φ(G(z))>],
which moves fakes along the normal w. On the logits that is the ``hinge`` loss for all three. What differs from hinge
is the term 1/2 ‖w‖², which keeps the margin 2/‖w‖ wide; it is the regularizer of this page. As hinge averages where
the SVM sums, ``weight`` stands for 1/(n C): n the batch size, C the paper's constant.

Not here: an exact SVM solution in each step. w and b take gradient steps with the rest.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from ganzoo import GanzooError, Register, RegisterRecipe, Regularizer, Turn, hookimpl

PAPER = "Lim & Ye 2017, Geometric GAN, arXiv:1705.02894"


class SVMMargin(Regularizer):
    """Keeps the margin of the discriminator's last, linear layer wide. Goes with the hinge loss.

    Args:
        weight: 1/(n C).
        every: Steps between applications.
    """

    def __init__(self, *, weight: float = 0.01, every: int = 1) -> None:
        super().__init__(weight=weight, every=every)

    def penalty(self, turn: Turn) -> Tensor:
        """1/2 ‖w‖²."""
        return normal(turn.networks["discriminator"]).square().sum() / 2


def normal(discriminator: nn.Module) -> Tensor:
    """The weight w of a discriminator's only linear layer from features to one logit.

    Raises:
        GanzooError: Its head is not one linear layer.
    """
    head = getattr(discriminator, "head", nn.Identity())
    linear = [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
    if len(linear) != 1 or linear[0].out_features != 1:
        raise GanzooError(
            f"'svm-margin' needs a discriminator that ends in one linear layer, its head; "
            f"{type(discriminator).__module__}.{type(discriminator).__name__} has none.",
            "Use one such as 'dcgan' or 'mlp', or leave the regularizer out.",
        )
    return linear[0].weight


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    """The margin."""
    register("svm-margin", SVMMargin, summary="Wide margin of D's last layer: half its squared norm", paper=PAPER)


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The hinge loss with the margin."""
    register(Path(__file__).parent / "recipes" / "geometric-mnist.yaml")
