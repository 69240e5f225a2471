"""Autoencoders as discriminators: an image that they reconstruct badly counts as fake.

Zhao, Mathieu & LeCun 2017, "Energy-based Generative Adversarial Network", arXiv:1609.03126, equation 13, and Berthelot,
Schumm & Metz 2017, "BEGAN", arXiv:1703.10717, section 3.1, judge an image by

    euclidean:  E(x) = ‖x - Dec(Enc(x))‖₂                        (EBGAN)
    absolute:   E(x) = mean over pixels of |x - Dec(Enc(x))|     (BEGAN with η = 1)

The logit is -E(x), so a large logit means real, as in the rest of the zoo, and any loss on logits can be used.

Differences from the paper:

- The encoder is the trunk of this zoo's ``mlp`` or ``dcgan`` discriminator with a linear layer to the code, and the
  decoder is the generator of the same name. BEGAN's own networks use exponential linear units, subsampling with stride
  2 and nearest-neighbour upsampling.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

from torch import Tensor, nn

from ganzoo import GaussianPrior, Register, Spec, functional, hookimpl
from ganzoo.layers import Norm, Width
from ganzoo_plugins.networks import dcgan, mlp

PAPER = "Zhao, Mathieu & LeCun 2017, Energy-based Generative Adversarial Network, arXiv:1609.03126"

Error = Literal["euclidean", "absolute"]


class Autoencoder(nn.Module):
    """From images (n, c, h, w) to logits (n,): minus the reconstruction error.

    Args:
        trunk: A discriminator with ``features`` and ``feature_width``; its head is not used.
        decoder: From codes to images.
        code: Width of the code.
        error: How the distance between an image and its reconstruction is measured.
    """

    def __init__(
        self, trunk: mlp.Discriminator | dcgan.Discriminator, decoder: nn.Module, code: int, error: Error
    ) -> None:
        super().__init__()
        self.trunk, self.decoder, self.error = trunk, decoder, error
        self.to_code = nn.Linear(trunk.feature_width, code)
        self.per_image = trunk.per_image  # the decoder has the trunk's normalisation
        del trunk.head

    def encode(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Codes (n, code) of images (n, c, h, w)."""
        codes: Tensor = self.to_code(self.trunk.features(images, label))
        return codes

    def reconstruct(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) reconstructed from their codes."""
        images_again: Tensor = self.decoder(self.encode(images, label), label)
        return images_again

    def forward(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits (n,), never positive: minus the reconstruction error."""
        difference = (images - self.reconstruct(images, label)).float()
        if self.error == "absolute":
            return -difference.abs().flatten(1).mean(1)
        return -functional.norm(difference)


def with_code(spec: Spec, code: int) -> Spec:
    """The decoder's spec, in which the code is the latent vector."""
    return replace(spec, prior=GaussianPrior(dim=code))


def fully_connected(
    spec: Spec,
    *,
    hidden: Sequence[Width] = (512, 256),
    code: Width = 64,
    norm: Norm = "none",
    error: Error = "euclidean",
) -> Autoencoder:
    """An autoencoder of MLPs; the decoder's layers are the encoder's in reverse.

    Args:
        spec: Image and class sizes.
        hidden: Widths of the encoder's hidden layers.
        code: Width of the code.
        norm: Normalisation of the hidden layers.
        error: How the distance between an image and its reconstruction is measured.
    """
    decoder = mlp.Generator(with_code(spec, code), hidden=list(reversed(hidden)), norm=norm)
    return Autoencoder(mlp.Discriminator(spec, hidden=hidden, norm=norm), decoder, code, error)


def convolutional(
    spec: Spec, *, width: Width = 32, code: Width = 64, norm: Norm = "batch", error: Error = "euclidean"
) -> Autoencoder:
    """An autoencoder of DCGAN's networks.

    Args:
        spec: Image and class sizes.
        width: Channels of the encoder's first layer and of the decoder's last hidden layer.
        code: Width of the code.
        norm: Normalisation of the hidden layers.
        error: How the distance between an image and its reconstruction is measured.
    """
    decoder = dcgan.Generator(with_code(spec, code), width=width, norm=norm)
    return Autoencoder(dcgan.Discriminator(spec, width=width, norm=norm), decoder, code, error)


@hookimpl
def register_discriminators(register: Register[nn.Module]) -> None:
    summary = "The reconstruction error of a {} autoencoder"
    register("autoencoder-mlp", fully_connected, summary=summary.format("fully connected"), paper=PAPER)
    register("autoencoder-dcgan", convolutional, summary=summary.format("convolutional"), paper=PAPER)
