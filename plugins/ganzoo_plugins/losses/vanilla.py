"""The original GAN, and the variant of its generator loss that everyone uses.

Goodfellow et al. 2014, "Generative Adversarial Nets", arXiv:1406.2661. Equation 1:

    min_G max_D V(D, G) = E_x[log D(x)] + E_z[log(1 - D(G(z)))]

With logits s, log σ(s) = -softplus(-s) and log(1 - σ(s)) = -softplus(s), which stay finite. Hence the discriminator
minimises

    -V = E[softplus(-s_real)] + E[softplus(s_fake)]

and the generator minimises

    minimax:         E[log(1 - D(G(z)))] = -E[softplus(s_fake)]
    non-saturating:  -E[log D(G(z))]     =  E[softplus(-s_fake)]      (section 3; "BCE with real labels")

The paper's k, the number of D steps per G step, is the recipe's ``phases.discriminator.repeat``; the paper uses k = 1.

Differences from the paper:

- The recipe trains G on the fakes that D has just seen (``train.share_fakes``), as do the authors' code and most code
  since; Algorithm 1 draws new codes. Set it to false for k > 1.
- D is updated first; the authors' code updates both players simultaneously.
- The authors' code halves D's loss, which matters with its SGD but not with Adam.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import softplus

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Goodfellow et al. 2014, Generative Adversarial Nets, arXiv:1406.2661"


class Minimax(AdversarialLoss):
    """Both players' losses come from V(D, G). G's gradient vanishes where D confidently rejects its fakes."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-V(D, G)."""
        return softplus(-real).mean() + softplus(fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """E[log(1 - D(G(z)))], the part of V that depends on G."""
        return -softplus(fake).mean()


class NonSaturating(Minimax):
    """The same loss for D; G's gradient is strongest where D confidently rejects its fakes."""

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-E[log D(G(z))]."""
        return softplus(-fake).mean()


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "minimax",
        Minimax,
        summary="The original value function V(D, G), played by both",
        paper=PAPER,
        aliases=("saturating",),
    )
    register(
        "non-saturating",
        NonSaturating,
        summary="G maximises log D(G(z)): the loss everyone calls BCE",
        paper=PAPER,
        aliases=("bce", "gan", "logistic", "ns", "nsgan", "vanilla"),
    )


register_recipes = beside(
    __file__,
    "vanilla-mnist",
    aliases={"vanilla-mnist": ("bce-mnist", "gan-mnist", "mnist", "non-saturating-mnist")},
)
