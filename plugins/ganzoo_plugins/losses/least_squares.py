"""Least squares GAN: squared distances to labels.

Mao et al. 2017, "Least Squares Generative Adversarial Networks", arXiv:1611.04076. Equation 2:

    min_D  1/2 E_x[(D(x) - b)²] + 1/2 E_z[(D(G(z)) - a)²]        min_G  1/2 E_z[(D(G(z)) - c)²]

with D the logit, a the label of fakes, b the label of real images, and c the label that G wants D to give its fakes.
With b - c = 1 and b - a = 2 (equation 8: a = -1, b = 1, c = 0) the game minimises the Pearson χ² divergence between
p_data + p_G and 2 p_G. The default is the 0-1 binary coding a = 0, b = c = 1 (equation 9), which the paper finds
equally good.

Differences from the paper:

- The authors' code sums over the batch, which matters only in combination with a penalty.
- The paper's convolutional networks for scenes of 112x112 and for Chinese characters are not implemented.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Mao et al. 2017, Least Squares Generative Adversarial Networks, arXiv:1611.04076"

Target = Annotated[float, Field(ge=-1e6, le=1e6)]


class LeastSquares(AdversarialLoss):
    """Squared distance of each logit to its label: fakes far on the correct side of the boundary are pulled back too.

    Args:
        a: D's target for fakes.
        b: D's target for real images.
        c: G's target for its fakes.
    """

    def __init__(self, *, a: Target = 0.0, b: Target = 1.0, c: Target = 1.0) -> None:
        super().__init__()
        self.a, self.b, self.c = a, b, c

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """1/2 E[(D(x) - b)²] + 1/2 E[(D(G(z)) - a)²]."""
        return ((real - self.b).square().mean() + (fake - self.a).square().mean()) / 2

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """1/2 E[(D(G(z)) - c)²]."""
        return (fake - self.c).square().mean() / 2


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "least-squares",
        LeastSquares,
        summary="Squared distance of each logit to its label",
        paper=PAPER,
        aliases=("ls", "lsgan", "mse"),
    )


register_recipes = beside(__file__, "least-squares-mnist", aliases={"least-squares-mnist": ("lsgan-mnist",)})
