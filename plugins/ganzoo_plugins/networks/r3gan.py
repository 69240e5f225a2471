"""R3GAN's loss: relativistic pairing, which R1 and R2 make converge.

Huang et al. 2024, "The GAN is dead; long live the GAN! A Modern GAN Baseline", arXiv:2501.05441. The
relativistic pairing loss (Jolicoeur-Martineau 2018, arXiv:1807.00734) of its section 2, with D the logit,
large on real images:

    min_G max_D  E_{x, z}[f(D(x) - D(G(z)))],    f(t) = -log(1 + e^(-t)) = -softplus(-t)

(The paper writes D with the opposite sign.) As in the authors' code, G plays the same loss with the roles
exchanged:

    D minimises E[softplus(D(G(z)) - D(x))]        G minimises E[softplus(D(x) - D(G(z)))]

and each fake is paired with one real image. The gradient penalties R1 and R2 of the r1 page complete it.
The paper's networks stand on the page r3gan_networks. Not here: its schedules of γ, β2, the learning rate and
the EMA.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor
from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, Register, RegisterRecipe, hookimpl

PAPER = "Huang et al. 2024, The GAN is dead; long live the GAN! A Modern GAN Baseline, arXiv:2501.05441"


class RelativisticPairing(AdversarialLoss):
    """Each fake is judged against a real image, so that the generator is drawn to every mode of the data."""

    pairs = True

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[softplus(fake - real)]: real images shall look more real than fakes."""
        return softplus(fake - real).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """E[softplus(real - fake)]: fakes shall look more real than real images."""
        assert real is not None, "pairs is set, so the real logits are always there"
        return softplus(real - fake).mean()


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    """The relativistic pairing loss."""
    register(
        "relativistic-pairing",
        RelativisticPairing,
        summary="Each fake against a real image; with R1 and R2 it is R3GAN's",
        paper=PAPER,
    )


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The loss with R1 and R2 on small convolutional networks."""
    register(Path(__file__).parent / "recipes" / "r3gan-mnist.yaml")
