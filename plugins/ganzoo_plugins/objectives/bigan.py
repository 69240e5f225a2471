"""BiGAN and ALI: a discriminator of pairs (image, code) teaches an encoder to invert the generator.

Donahue, Krähenbühl & Darrell 2017, "Adversarial Feature Learning", arXiv:1605.09782, and Dumoulin et al. 2017,
"Adversarially Learned Inference", arXiv:1606.00704. Both play

    min_{G, E} max_D  E_x[log D(x, z_x)] + E_z[log(1 - D(G(z), z))]

    bigan:  z_x = E(x)
    ali:    z_x ~ N(μ(x), diag σ²(x)), by reparametrisation

At the optimum both kinds of pairs have the same joint distribution, and BiGAN's E inverts G. As in both papers, one
phase trains G and E on the game with swapped labels: E_x[softplus(s(x, z_x))] + E_z[softplus(-s(G(z), z))], with s the
logit. Any image discriminator that shares its features f becomes one of pairs, s(x, z) = D(x) + J(f(x), z), where J is
an MLP that the objective adds.

As in the authors' code, BiGAN's E(x) is squashed into the range of a uniform prior: otherwise, any number outside of it
would betray a pair without a look at the image. ALI's generator is deterministic, as in the authors' code for images.

Differences from the paper:

- D is updated before G's and E's gradients are taken; both papers' code takes all gradients first.
- s includes D(x), a function of the image alone, so that every layer of the recipe's network is used. Donahue &
  Simonyan 2019, arXiv:1907.02544, also have such terms.
- BiGAN's authors add a linear map of z to D's second hidden layer, and pass z to both hidden layers of G.
- ALI passes z through two layers of its own first, and its D has dropout.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ganzoo import Batch, Losses, Networks, Objective, Phase, Register, Spec, UniformPrior, beside, hookimpl
from ganzoo.layers import Width, as_trunk
from ganzoo_plugins.networks import mlp
from ganzoo_plugins.networks.encoders import deviation_layer, posterior

BIGAN = "Donahue, Krähenbühl & Darrell 2017, Adversarial Feature Learning, arXiv:1605.09782"
ALI_PAPER = "Dumoulin et al. 2017, Adversarially Learned Inference, arXiv:1606.00704"


class Joint(nn.Module):
    """J: how well an image and a code match.

    Args:
        feature_width: Number of features of an image.
        latent: Width of a code.
        hidden: Widths of the hidden layers.
    """

    def __init__(self, feature_width: int, latent: int, hidden: Sequence[int]) -> None:
        super().__init__()
        self.trunk, width = mlp.hidden_layers(feature_width + latent, hidden, "none", 0.2)
        self.head = nn.Linear(width, 1)

    def forward(self, features: Tensor, z: Tensor) -> Tensor:
        """Logits (n,) from features (n, feature_width) and codes (n, latent)."""
        logits: Tensor = self.head(self.trunk(torch.cat([features, z.to(features.dtype)], dim=1))).squeeze(1)
        return logits


class BiGAN(Objective):
    """The game on pairs with a deterministic encoder.

    Args:
        hidden: Widths of J's hidden layers.
    """

    roles = {"generator": "generator", "encoder": "encoder", "discriminator": "discriminator"}  # noqa: RUF012
    samples_with = ("generator", "encoder")
    inferring: ClassVar[tuple[str, ...]] = ("encoder",)

    def __init__(self, *, hidden: Sequence[Width] = (512, 256)) -> None:
        super().__init__()
        self.hidden = hidden

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add J on the discriminator's features."""
        trunk = as_trunk(networks["discriminator"], "discriminator", "A discriminator of pairs")
        return {**super().bind(spec, networks), "joint": Joint(trunk.feature_width, spec.latent, self.hidden)}

    def phases(self) -> list[Phase]:
        return [
            Phase("discriminator", ("discriminator", "joint"), self.discriminator_loss),
            Phase("generator", ("generator", *self.inferring), self.generator_loss),
        ]

    def encode(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """The codes (n, latent) of images (n, c, h, w) that the game uses."""
        return self.codes(networks, images, label)

    def codes(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """E(x) (n, latent) of images (n, c, h, w)."""
        codes = networks["encoder"](images, *self.condition(label)).float()
        # 2 σ(codes) - 1, which is in (-1, 1).
        return torch.tanh(codes / 2) if isinstance(self.spec.prior, UniformPrior) else cast("Tensor", codes)

    def reconstruct(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """G(E(x)), images (n, c, h, w)."""
        return self.generate(networks, self.codes(networks, images, label), label)

    def judge(self, networks: Networks, images: Tensor, z: Tensor, label: Tensor) -> Tensor:
        """s, float32 logits (n,) of pairs of images (n, c, h, w) and codes (n, latent)."""
        trunk = as_trunk(networks["discriminator"], "discriminator", "A discriminator of pairs")
        condition = self.condition(label)
        features = trunk.features(images, *condition)
        logits: Tensor = trunk.head(features, *condition).float() + networks["joint"](features, z).float()
        return logits

    def pairs(self, networks: Networks, batch: Batch) -> tuple[Tensor, Tensor]:
        """Codes (n, latent) of the real images, and images (n, c, h, w) generated from the drawn codes."""
        return (
            self.encode(networks, batch.real, batch.label),
            self.generate(networks, batch.z, batch.label),
        )

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """-V; codes and fakes carry no graph."""
        with torch.no_grad():
            codes, images = self.pairs(networks, batch)
        real = self.judge(networks, batch.real, codes, batch.label)
        fake = self.judge(networks, images, batch.z, batch.label)
        loss = softplus(-real).mean() + softplus(fake).mean()
        return {"loss": loss, "real_logits": real.mean(), "fake_logits": fake.mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """The game with swapped labels."""
        codes, images = self.pairs(networks, batch)
        encoder = softplus(self.judge(networks, batch.real, codes, batch.label)).mean()
        generator = softplus(-self.judge(networks, images, batch.z, batch.label)).mean()
        return {"loss": encoder + generator, "encoder": encoder, "generator": generator}


class ALI(BiGAN):
    """The game on pairs with a stochastic encoder."""

    inferring = ("encoder", "deviation")

    def bind(self, spec: Spec, networks: Networks) -> Mapping[str, nn.Module]:
        """Add J, and the layer that computes the encoder's log variances."""
        layer = deviation_layer(networks["encoder"], spec, "ALI's stochastic encoder")
        return {**super().bind(spec, networks), "deviation": layer}

    def encode(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """Codes (n, latent), drawn from q(z|x) of images (n, c, h, w)."""
        return posterior(networks, images, self.condition(label)).sample()

    def codes(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """μ(x) (n, latent) of images (n, c, h, w)."""
        return cast("Tensor", networks["encoder"](images, *self.condition(label)).float())


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    register("bigan", BiGAN, summary="D judges pairs of image and code; E inverts G", paper=BIGAN)
    register("ali", ALI, summary="D judges pairs of image and code; E draws its codes", paper=ALI_PAPER)


register_recipes = beside(__file__, "bigan-mnist", "ali-mnist")
