"""Adversarial autoencoder: an adversary makes the codes of images match the prior.

Makhzani, Shlens, Jaitly, Goodfellow & Frey 2016, "Adversarial Autoencoders", arXiv:1511.05644. An encoder E and a
decoder G reconstruct images, and a discriminator D_z tells codes drawn from the prior p(z) from codes of images:

    reconstruction:        min_{E, G}  E_x ‖x - G(E(x))‖²
    latent discriminator:  max_{D_z}   E_z[log D_z(z)] + E_x[log(1 - D_z(E(x)))]
    encoder:               min_E      -E_x[log D_z(E(x))]

in that order; the paper also alternates reconstruction and regularisation. E is deterministic, the first of the paper's
three choices. Any prior works. In a conditional recipe, all networks get the label. The first and the last phase share
E's optimizer, so the error's scale sets the weight of reconstruction relative to the game. If G has batch
normalisation, what the module vae explains about averaged weights applies here too.

Differences from the paper:

- The squared error is a mean over pixels in [-1, 1].
- Not implemented: labels for D_z in semi-supervised learning, and clustering, for which the paper's encoder ends in a
  softmax over the one-hot part.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss, softplus

from ganzoo import Batch, Losses, Networks, Objective, Phase, Points, Register, Spec, beside, hookimpl
from ganzoo.layers import Width
from ganzoo_plugins.networks import mlp
from ganzoo_plugins.networks.encoders import Autoencoding

PAPER = "Makhzani et al. 2016, Adversarial Autoencoders, arXiv:1511.05644"


class LatentDiscriminator(mlp.Discriminator):
    """D_z: from codes (n, latent) to logits (n,); it treats a code as an image with one row.

    Args:
        spec: Latent and class sizes.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, spec: Spec, hidden: Sequence[int]) -> None:
        super().__init__(replace(spec, shape=(1, 1, spec.latent), modality=Points(1, 1, spec.latent)), hidden=hidden)


class AdversarialAutoencoder(Autoencoding):
    """Reconstruction and an adversarial game on codes. The recipe's generator is the decoder.

    Args:
        hidden: Widths of D_z's hidden layers.
    """

    def __init__(self, *, hidden: Sequence[Width] = (1000, 1000)) -> None:
        super().__init__()
        self.hidden = hidden

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add the discriminator of codes."""
        return {**super().bind(spec, networks), "latent_discriminator": LatentDiscriminator(spec, self.hidden)}

    def phases(self) -> list[Phase]:
        return [
            Phase("reconstruction", ("generator", "encoder"), self.reconstruction_loss),
            Phase("latent_discriminator", ("latent_discriminator",), self.discriminator_loss),
            Phase("encoder", ("encoder",), self.encoder_loss),
        ]

    def judge(self, networks: Networks, codes: Tensor, label: Tensor) -> Tensor:
        """Float32 logits (n,) of codes (n, latent)."""
        logits: Tensor = networks["latent_discriminator"](codes, *self.condition(label))
        return logits.float()

    def reconstruction_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Mean squared error of pixels."""
        again = self.generate(networks, self.codes(networks, batch.real, batch.label), batch.label)
        return {"loss": mse_loss(again.float(), batch.real)}

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Codes from the prior count as real; codes of images carry no graph."""
        with torch.no_grad():
            codes = self.codes(networks, batch.real, batch.label)
        drawn, encoded = self.judge(networks, batch.z, batch.label), self.judge(networks, codes, batch.label)
        loss = softplus(-drawn).mean() + softplus(encoded).mean()
        return {"loss": loss, "prior_logits": drawn.mean(), "encoded_logits": encoded.mean()}

    def encoder_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-E[log D_z(E(x))]."""
        codes = self.codes(networks, batch.real, batch.label)
        return {"loss": softplus(-self.judge(networks, codes, batch.label)).mean(), "code_variance": codes.var()}


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    summary = "Autoencoder whose codes an adversary matches to the prior"
    register("aae", AdversarialAutoencoder, summary=summary, paper=PAPER)


register_recipes = beside(__file__, "aae-mnist")
