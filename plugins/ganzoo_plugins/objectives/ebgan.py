"""Energy-based GAN, with a term that pulls fakes away from one another.

Zhao, Mathieu & LeCun 2017, "Energy-based Generative Adversarial Network", arXiv:1609.03126. D(x) ≥ 0 is an energy, low
on the data. Equations 1 and 2, with the margin m:

    L_D = E_x[D(x)] + E_z[max(0, m - D(G(z)))]        L_G = E_z[D(G(z))]

and equation 14, the pulling-away term on the codes S_i = Enc(G(z_i)) of a batch of N fakes, which EBGAN-PT adds to L_G:

    1/(N (N - 1)) Σ_i Σ_{j≠i} (S_i · S_j / (‖S_i‖ ‖S_j‖))²

The energy is the negative logit. With a discriminator from the module autoencoder it is non-negative, which bounds L_D
from below, as in the paper (equation 13). The pulling-away term is a regularizer that works with any loss, and with any
discriminator that has codes or features. Its weight in the paper is 0.1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, cast

import torch
from torch import Tensor
from torch.nn.functional import normalize, relu

from ganzoo import (
    AdversarialLoss,
    EverySteps,
    GanzooError,
    Networks,
    Register,
    Regularizer,
    RegularizerContext,
    Scale,
    Spec,
    Weight,
    beside,
    hookimpl,
)

PAPER = "Zhao, Mathieu & LeCun 2017, Energy-based Generative Adversarial Network, arXiv:1609.03126"


class EBGAN(AdversarialLoss):
    """Low energies for real images, energies of at least the margin for fakes.

    Args:
        margin: m; fakes with a higher energy give D no gradient.
    """

    def __init__(self, *, margin: Scale = 10.0) -> None:
        super().__init__()
        self.margin = margin

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[D(x)] + E[max(0, m - D(G(z)))], with energies -real and -fake."""
        return relu(self.margin + fake).mean() - real.mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """E[D(G(z))]."""
        return -fake.mean()


def pulling_away(codes: Tensor) -> Tensor:
    """Mean squared cosine between different rows of codes (n, width): 0 if orthogonal, 1 if collapsed."""
    n = len(codes)
    unit = normalize(codes, dim=1)
    cosines = unit @ unit.T
    others = 1 - torch.eye(n, device=codes.device, dtype=codes.dtype)
    return (cosines.square() * others).sum() / (n * max(1, n - 1))


class PullingAway(Regularizer):
    """Pushes D's codes of the fakes in a batch towards orthogonality.

    Args:
        weight: Factor of the term in the generator's loss.
        every_steps: Steps between applications.
    """

    side: Literal["discriminator", "generator"] = "generator"

    def __init__(self, *, weight: Weight = 0.1, every_steps: EverySteps = 1) -> None:
        super().__init__(weight=weight, every_steps=every_steps)

    def bind(self, spec: Spec, networks: Networks) -> None:
        """Refuse a discriminator without codes."""
        discriminator = networks["discriminator"]
        if not hasattr(discriminator, "encode") and not hasattr(discriminator, "features"):
            raise GanzooError(
                f"'pulling-away' compares codes, but the discriminator '{type(discriminator).__module__}' has none.",
                "Use one with encode() or features(), such as 'autoencoder-dcgan' or 'dcgan'.",
            )

    def penalty(self, context: RegularizerContext) -> Tensor:
        """Mean squared cosine between the codes of different fakes."""
        discriminator = context.networks["discriminator"]
        encode = cast("Callable[..., Tensor]", getattr(discriminator, "encode", None) or discriminator.features)
        return pulling_away(encode(context.fake, *context.condition).float())


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register("ebgan", EBGAN, summary="Logits as energies with a margin; D should be an autoencoder", paper=PAPER)


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("pulling-away", PullingAway, summary="Codes of a batch's fakes are pushed apart", paper=PAPER)


register_recipes = beside(__file__, "ebgan-mnist")
