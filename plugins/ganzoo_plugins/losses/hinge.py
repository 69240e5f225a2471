"""The hinge loss of SNGAN, SAGAN and BigGAN.

Introduced by Lim & Ye 2017 ("Geometric GAN", arXiv:1705.02894) and Tran et al. 2017 (arXiv:1702.08896); it became
standard with Miyato et al. 2018, "Spectral Normalization for Generative Adversarial Networks", arXiv:1802.05957,
equations 16 and 17, and Brock et al. 2019, BigGAN, arXiv:1809.11096:

    min_D  E_x[max(0, 1 - D(x))] + E_z[max(0, 1 + D(G(z)))]        min_G  -E_z[D(G(z))]

D is the logit. D gets no gradient from an image that it classifies correctly by a margin of 1 or more, while G's
gradient with respect to a fake's logit is constant. Spectral normalisation is not part of this module: a recipe sets
``spectral_norm`` on any network.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import relu

from ganzoo import AdversarialLoss, Register, beside, hookimpl

PAPER = "Miyato et al. 2018, Spectral Normalization for Generative Adversarial Networks, arXiv:1802.05957"


class Hinge(AdversarialLoss):
    """A soft margin of 1 for D; G raises the mean logit of its fakes."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """E[max(0, 1 - D(x))] + E[max(0, 1 + D(G(z)))]."""
        return relu(1 - real).mean() + relu(1 + fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-E[D(G(z))]."""
        return -fake.mean()


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    register(
        "hinge",
        Hinge,
        summary="Soft margin of 1 for D; G raises the mean logit of its fakes",
        paper=PAPER,
        aliases=("biggan", "sagan", "sngan"),
    )


register_recipes = beside(__file__, "hinge-mnist")
