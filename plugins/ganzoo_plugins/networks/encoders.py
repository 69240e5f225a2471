"""Encoders: from images back to latent codes, Gaussians around these codes, and the base of autoencoders.

Each encoder has the trunk of this zoo's discriminator of the same name, and a linear layer to the code. All layers but
the first are batch-normalised by default, as in BiGAN; ALI and VAE-GAN normalise the first one too. ``norm: none``
turns that off, as in the papers on VAE, AAE and ClusterGAN.

A stochastic encoder, q(z|x) = N(μ(x), diag σ²(x)) (Kingma & Welling 2014, arXiv:1312.6114), needs no special network: μ
is the encoder's output, and the objective adds a second linear layer on the encoder's features for log σ².
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ganzoo import Networks, Objective, Register, Spec, hookimpl
from ganzoo.layers import Norm, Slope, Width, as_trunk, own_statistics
from ganzoo_plugins.networks import dcgan, mlp


class Encoder(nn.Module):
    """From images (n, c, h, w) to codes (n, latent), via features that other heads can share.

    Args:
        spec: Image, latent and class sizes.
        trunk: A discriminator that shares its features; everything but its head is used.
    """

    def __init__(self, spec: Spec, trunk: nn.Module) -> None:
        super().__init__()
        self.trunk, self.feature_width = trunk, as_trunk(trunk, "discriminator", "An encoder").feature_width
        del trunk.head
        self.head = nn.Linear(self.feature_width, spec.latent)

    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w)."""
        features: Tensor = self.trunk.features(images, label)  # type: ignore[operator]
        return features

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes (n, latent) of images (n, c, h, w) and, in a conditional recipe, labels (n,)."""
        codes: Tensor = self.head(self.features(images, label))
        return codes


def fully_connected(
    spec: Spec, *, hidden: Sequence[Width] = (512, 256), norm: Norm = "batch", slope: Slope = 0.2
) -> Encoder:
    """A multilayer perceptron.

    Args:
        spec: Image, latent and class sizes.
        hidden: Widths of the hidden layers.
        norm: Normalisation of every hidden layer but the first.
        slope: Negative slope of the LeakyReLUs.
    """
    return Encoder(spec, mlp.Discriminator(spec, hidden=hidden, norm=norm, slope=slope))


def convolutional(spec: Spec, *, width: Width = 64, norm: Norm = "batch", slope: Slope = 0.2) -> Encoder:
    """DCGAN's strided convolutions.

    Args:
        spec: Image, latent and class sizes.
        width: Channels of the first layer; each later layer has twice as many as the one before.
        norm: Normalisation of every layer but the first.
        slope: Negative slope of the LeakyReLUs.
    """
    return Encoder(spec, dcgan.Discriminator(spec, width=width, norm=norm, slope=slope))


@dataclass(frozen=True)
class Posterior:
    """q(z|x) = N(μ, diag σ²) for each of n images.

    Attributes:
        mean: μ (n, latent).
        log_variance: log σ² (n, latent).
    """

    mean: Tensor
    log_variance: Tensor

    def sample(self) -> Tensor:
        """μ + σε with ε ~ N(0, I), (n, latent); differentiable in μ and σ."""
        return torch.addcmul(self.mean, (self.log_variance / 2).exp(), torch.randn_like(self.mean))

    def divergence(self) -> Tensor:
        """KL(q(z|x) ‖ N(0, I)) in nats, (n,): Σ (μ² + σ² - 1 - log σ²) / 2."""
        return (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance).sum(1) / 2


def deviation_layer(encoder: nn.Module, spec: Spec, reader: str) -> nn.Linear:
    """The layer from an encoder's features to log σ², for the objective to add as role ``deviation``.

    Raises:
        GanzooError: The encoder does not share its features.
    """
    return nn.Linear(as_trunk(encoder, "encoder", reader).feature_width, spec.latent)


def posterior(networks: Networks, images: Tensor, condition: tuple[Tensor, ...]) -> Posterior:
    """q(z|x), float32, from the roles ``encoder`` and ``deviation``.

    Args:
        networks: All networks, by role.
        images: (n, c, h, w) in [-1, 1].
        condition: Labels (n,) in a conditional recipe, otherwise empty.
    """
    encoder = as_trunk(networks["encoder"], "encoder", "The posterior")
    features = encoder.features(images, *condition)
    return Posterior(encoder.head(features).float(), networks["deviation"](features).float())


class Autoencoding(Objective):
    """An objective whose generator is also the decoder of images' codes."""

    roles = {"generator": "generator", "encoder": "encoder"}  # noqa: RUF012
    samples_with = ("generator", "encoder")

    def codes(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """The encoder's output, float32 (n, latent), for images (n, c, h, w): of a stochastic one, μ(x)."""
        codes: Tensor = networks["encoder"](images, *self.condition(label))
        return codes.float()

    def reconstruct(self, networks: Networks, images: Tensor, label: Tensor) -> Tensor:
        """G(codes), images (n, c, h, w); any batch normalisation in G uses the statistics of these codes."""
        with own_statistics(networks["generator"]):
            return self.generate(networks, self.codes(networks, images, label), label)


@hookimpl
def register_encoders(register: Register[nn.Module]) -> None:
    register("mlp", fully_connected, summary="Fully connected layers, 784-512-256-latent on MNIST", paper=mlp.PAPER)
    register("dcgan", convolutional, summary="Strided convolutions, native 28x28 and 32x32", paper=dcgan.PAPER)
