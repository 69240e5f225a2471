"""BEGAN: an autoencoding discriminator, and a variable that balances the two players.

Berthelot, Schumm & Metz 2017, "BEGAN: Boundary Equilibrium Generative Adversarial Networks", arXiv:1703.10717. With
L(v) = |v - D(v)|, a mean over pixels, the reconstruction error, section 3.4's objective is

    L_D = L(x) - k_t L(G(z_D))        L_G = L(G(z_G))
    k_{t+1} = clip(k_t + λ_k (γ L(x) - L(G(z_G))), 0, 1),    k_0 = 0

and section 3.4.1's measure of convergence, logged as ``convergence``, is

    M = L(x) + |γ L(x) - L(G(z_G))|

γ in [0, 1] sets the diversity of the fakes. L is the negative logit of an autoencoding discriminator (module
autoencoder) with ``error: absolute``.

Differences from the paper:

- D is updated before G's gradient is computed; the paper computes both gradients first.
- Not implemented: halving the learning rate when M stalls, skip connections, vanishing residuals.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ganzoo import (
    Batch,
    GanzooError,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Share,
    Spec,
    beside,
    hookimpl,
)

PAPER = "Berthelot, Schumm & Metz 2017, BEGAN, arXiv:1703.10717"


class BEGAN(Objective):
    """The boundary equilibrium game. The discriminator must be an autoencoder.

    Args:
        diversity: γ, the ratio of the error of fakes to that of real images at equilibrium.
        gain: λ_k, how fast k adapts.
    """

    k: Tensor
    real_error: Tensor
    fake_error: Tensor

    def __init__(self, *, diversity: Share = 0.5, gain: Share = 0.001) -> None:
        super().__init__()
        self.diversity = diversity
        self.gain = gain
        for name in ("k", "real_error", "fake_error"):
            self.register_buffer(name, torch.zeros(()))

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Refuse a discriminator that does not reconstruct images."""
        discriminator = networks["discriminator"]
        if not hasattr(discriminator, "reconstruct"):
            raise GanzooError(
                "BEGAN needs a discriminator that reconstructs images, but "
                f"'{type(discriminator).__module__}' does not.",
                "Use e.g. discriminator: {name: autoencoder-dcgan, error: absolute}.",
            )
        return super().bind(spec, networks)

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), self.generator_loss, after=self.rebalance),
        ]

    def error(self, networks: Networks, images: Tensor, batch: Batch) -> Tensor:
        """L, averaged over images (n, c, h, w)."""
        logits: Tensor = networks["discriminator"](images, *self.condition(batch.label))
        return -logits.float().mean()

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """L(x) - k L(G(z))."""
        with torch.no_grad():
            images = self.generate(networks, batch.z, batch.label)
        real, fake = self.error(networks, batch.real, batch), self.error(networks, images, batch)
        self.real_error.copy_(real.detach())
        k = self.k.clone()  # a copy, because k changes in place
        return {"loss": real - k * fake, "real_error": real, "k": k}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """L(G(z))."""
        fake = self.error(networks, self.generate(networks, batch.z, batch.label), batch)
        self.fake_error.copy_(fake.detach())
        imbalance = self.diversity * self.real_error - self.fake_error
        return {"loss": fake, "convergence": self.real_error + imbalance.abs()}

    def rebalance(self, networks: Networks) -> None:
        """One step of k towards γ L(x) = L(G(z))."""
        self.k.add_(self.gain * (self.diversity * self.real_error - self.fake_error)).clamp_(0, 1)


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("began", BEGAN, summary="Autoencoding D, and a variable k that balances the players", paper=PAPER)


register_recipes = beside(__file__, "began-mnist")
