"""VAE-GAN: a variational autoencoder that measures reconstruction error in a discriminator's features.

Larsen, Sønderby, Larochelle & Winther 2016, "Autoencoding beyond pixels using a learned similarity metric",
arXiv:1512.09300. With x̃ = G(z_x), z_x ~ q(z|x), and D_l the discriminator's features,

    L_prior = KL(q(z|x) ‖ N(0, I))        L_like = ‖D_l(x) - D_l(x̃)‖² / 2
    V = E[log D(x)] + E[log(1 - D(x̃))] + E[log(1 - D(G(z)))]

    encoder:        min  L_prior + L_like
    generator:      min  γ L_like + its part of V
    discriminator:  max  V

so the game gives the encoder no gradient, and the reconstruction error gives the discriminator none. L_like is the
negative log-likelihood of a unit Gaussian around D_l(x̃), summed over features, without its constant. D_l is the
discriminator's ``features``, its last hidden layer.

Differences from the paper:

- The generator's part of V is non-saturating, -E[log D(x̃)] - E[log D(G(z))]; the paper and the authors' code have the
  saturating log(1 - D).
- All phases see the same images but draw their own codes, and each uses the networks as the previous phase left them;
  the paper takes all gradients from one pass.
- The authors compare features of the last convolution, before its normalisation and ReLU.
- They skip updates of whichever player is too far ahead.
- Their scripts leave x̃ out of V; here V gives D two fakes for each real image.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganzoo import (
    Batch,
    Losses,
    Networks,
    Objective,
    Phase,
    Register,
    Spec,
    Weight,
    beside,
    functional,
    hookimpl,
)
from ganzoo.layers import as_trunk
from ganzoo_plugins.networks.encoders import Autoencoding, Posterior, deviation_layer, posterior
from ganzoo_plugins.objectives.vae import gaussian_prior

PAPER = "Larsen et al. 2016, Autoencoding beyond pixels using a learned similarity metric, arXiv:1512.09300"


class VAEGAN(Autoencoding):
    """An autoencoder and an adversarial game that share the decoder, which is the recipe's generator.

    Args:
        weight: γ, the weight of reconstruction relative to the game in the generator's loss.
    """

    roles = {"generator": "generator", "encoder": "encoder", "discriminator": "discriminator"}  # noqa: RUF012

    def __init__(self, *, weight: Weight = 1e-2) -> None:
        super().__init__()
        self.weight = weight

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the layer that computes the encoder's log variances."""
        gaussian_prior(spec, "VAE-GAN")
        as_trunk(networks["discriminator"], "discriminator", "VAE-GAN")
        layer = deviation_layer(networks["encoder"], spec, "VAE-GAN")
        return {**super().bind(spec, networks), "deviation": layer}

    def phases(self) -> list[Phase]:
        return [
            Phase("encoder", ("encoder", "deviation"), self.encoder_loss),
            Phase("generator", ("generator",), self.generator_loss),
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
        ]

    def encoder_loss(self, networks: Networks, batch: Batch) -> Losses:
        """L_prior + L_like."""
        q, again = self.redraw(networks, batch)
        error, _ = self.error(networks, again, batch)
        divergence = q.divergence().mean()
        return {"loss": divergence + error, "divergence": divergence, "error": error}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """γ L_like - E[log D(x̃)] - E[log D(G(z))]."""
        _, again = self.redraw(networks, batch)
        error, reconstructed = self.error(networks, again, batch)
        drawn = self.judge(networks, self.generate(networks, batch.z, batch.label), batch.label)
        game = softplus(-reconstructed).mean() + softplus(-drawn).mean()
        return {"loss": self.weight * error + game, "error": error, "game": game}

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-V; reconstructions and fakes carry no graph."""
        with torch.no_grad():
            _, again = self.redraw(networks, batch)
            images = self.generate(networks, batch.z, batch.label)
        real, reconstructed, drawn = (self.judge(networks, x, batch.label) for x in (batch.real, again, images))
        loss = softplus(-real).mean() + softplus(reconstructed).mean() + softplus(drawn).mean()
        means = {"real_logits": real.mean(), "reconstructed_logits": reconstructed.mean(), "fake_logits": drawn.mean()}
        return {"loss": loss, **means}

    def redraw(self, networks: Networks, batch: Batch) -> tuple[Posterior, Tensor]:
        """q(z|x) of the real images, and x̃ (n, c, h, w)."""
        q = posterior(networks, batch.real, self.condition(batch.label))
        return q, self.generate(networks, q.sample(), batch.label)

    def error(self, networks: Networks, again: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """L_like, averaged over images, and the float32 logits (n,) of reconstructions (n, c, h, w)."""
        trunk = as_trunk(networks["discriminator"], "discriminator", "VAE-GAN")
        condition = self.condition(batch.label)
        with torch.no_grad():
            target = trunk.features(batch.real, *condition).float()
        features = trunk.features(again, *condition)
        error = functional.squared_norm(target - features.float()).mean() / 2
        return error, trunk.head(features, *condition).float()

    def judge(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Float32 logits (n,) of images (n, c, h, w)."""
        logits: Tensor = networks["discriminator"](images, *self.condition(label))
        return logits.float()


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register(
        "vae-gan",
        VAEGAN,
        summary="VAE whose reconstruction error is measured in D's features, plus a GAN",
        paper=PAPER,
        aliases=("vaegan",),
    )


register_recipes = beside(__file__, "vae-gan-mnist", aliases={"vae-gan-mnist": ("vaegan-mnist",)})
