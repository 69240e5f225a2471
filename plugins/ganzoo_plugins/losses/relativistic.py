"""Relativistic average GANs: does an image look more real than the average image of the other kind?

Jolicoeur-Martineau 2018, "The relativistic discriminator: a key element missing from standard GAN", arXiv:1807.00734.
With C the logit, x real and y = G(z), section 4.2 replaces C by its difference from the mean over the other kind,

    c_x = C(x) - E_y[C(y)]        c_y = C(y) - E_x[C(x)]

and both players minimise, G with the roles of x and y exchanged (appendix A),

    standard:       -E_x[log σ(c_x)] - E_y[log(1 - σ(c_y))]
    least squares:  E_x[(c_x - 1)²] + E_y[(c_y + 1)²]
    hinge:          E_x[max(0, 1 - c_x)] + E_y[max(0, 1 + c_y)]

G's loss needs the logits of real images, too. The pairwise form is ``relativistic-pairing`` in the module r3gan.

Differences from the paper:

- The author's code draws new real images for G's loss.
- It halves each loss, which matters only in combination with a penalty.
- The paper's convolutional networks are not implemented.
"""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor
from torch.nn.functional import relu, softplus

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Jolicoeur-Martineau 2018, The relativistic discriminator, arXiv:1807.00734"


class Relativistic(AdversarialLoss):
    """One cost for both players; G exchanges the roles of real and fake."""

    pairs = True

    @abstractmethod
    def cost(self, above: Tensor, below: Tensor) -> Tensor:
        """The cost (n,) of differences: ``above`` (n,) should be positive, ``below`` (n,) negative."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Real images should score above the mean of the fakes, and fakes below the mean of the real images."""
        return self.cost(real - fake.mean(), fake - real.mean()).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The same cost with the roles exchanged."""
        assert real is not None, "pairs is set, so the real logits are always given"
        return self.discriminator(fake, real)


class RelativisticAverage(Relativistic):
    """RaSGAN: binary cross-entropy of the differences."""

    def cost(self, above: Tensor, below: Tensor) -> Tensor:
        """-log σ(above) - log(1 - σ(below))."""
        return softplus(-above) + softplus(below)


class RelativisticAverageLeastSquares(Relativistic):
    """RaLSGAN: differences of 1 and -1 cost nothing."""

    def cost(self, above: Tensor, below: Tensor) -> Tensor:
        """(above - 1)² + (below + 1)²."""
        return (above - 1).square() + (below + 1).square()


class RelativisticAverageHinge(Relativistic):
    """RaHingeGAN: differences beyond 1 and -1 cost nothing."""

    def cost(self, above: Tensor, below: Tensor) -> Tensor:
        """max(0, 1 - above) + max(0, 1 + below)."""
        return relu(1 - above) + relu(1 + below)


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    name = "relativistic-average"
    register(
        name,
        RelativisticAverage,
        summary="More real than the other kind's mean: cross-entropy",
        paper=PAPER,
        aliases=("ragan", "rasgan"),
    )
    register(
        f"{name}-least-squares",
        RelativisticAverageLeastSquares,
        summary="More real than the other kind's mean: squared distance to 1",
        paper=PAPER,
        aliases=("ralsgan",),
    )
    register(
        f"{name}-hinge",
        RelativisticAverageHinge,
        summary="More real than the other kind's mean: soft margin of 1",
        paper=PAPER,
        aliases=("rahinge",),
    )


register_recipes = beside(
    __file__,
    "relativistic-average-mnist",
    "relativistic-average-least-squares-mnist",
    "relativistic-average-hinge-mnist",
    aliases={
        "relativistic-average-mnist": ("ragan-mnist",),
        "relativistic-average-least-squares-mnist": ("ralsgan-mnist",),
        "relativistic-average-hinge-mnist": ("rahinge-mnist",),
    },
)
