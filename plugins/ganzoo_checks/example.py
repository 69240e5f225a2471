"""Least squares GAN with two small networks. Replace this with your paper's citation and equation.

Mao et al. 2017, "Least Squares Generative Adversarial Networks", arXiv:1611.04076, with labels 1 for real images and 0
for fakes:

    L_D = ½ E[(D(x) - 1)²] + ½ E[D(G(z))²]        L_G = ½ E[(D(G(z)) - 1)²]
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from ganzoo import AdversarialLoss, Spec
from ganzoo.layers import ImageTanh

PAPER = "Mao et al. 2017, Least Squares Generative Adversarial Networks, arXiv:1611.04076"
Width = Annotated[int, Field(ge=1)]


class LeastSquares(AdversarialLoss):
    """Squared distance of each logit to its label.

    Args:
        real_label: The target for real images, and the generator's target for its fakes.
    """

    def __init__(self, *, real_label: Annotated[float, Field(gt=0, le=1)] = 1.0) -> None:
        super().__init__()
        self.real_label = real_label

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """The discriminator's loss, from logits (n,) of real images and of fakes."""
        return ((real - self.real_label).square().mean() + fake.square().mean()) / 2

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """The generator's loss, from logits (n,) of its fakes."""
        return (fake - self.real_label).square().mean() / 2


class Generator(nn.Module):
    """Two hidden layers, from codes to images.

    Args:
        spec: Image and latent sizes; take every size from here.
        width: Units of each hidden layer.
    """

    def __init__(self, spec: Spec, *, width: Width = 256) -> None:
        super().__init__()
        self.spec = spec
        self.layers = nn.Sequential(
            nn.Linear(spec.latent, width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.ReLU(),
            nn.Linear(width, spec.pixels),
            ImageTanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Images (n, c, h, w) in [-1, 1] from codes (n, latent)."""
        return self.layers(z).view(-1, *self.spec.image_shape)


class Discriminator(nn.Module):
    """Two hidden layers, from images to logits.

    Args:
        spec: Image sizes.
        width: Units of each hidden layer.
    """

    def __init__(self, spec: Spec, *, width: Width = 256) -> None:
        super().__init__()
        self.feature_width = width
        self.per_image = True  # no layer mixes the images of a batch, so real and fake ones can share a pass
        self.trunk = nn.Sequential(
            nn.Flatten(),
            nn.Linear(spec.pixels, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.head = nn.Sequential(nn.Linear(width, 1), nn.Flatten(0))

    def features(self, images: Tensor) -> Tensor:
        """Features (n, feature_width) of images (n, c, h, w); some losses and regularizers read them."""
        return self.trunk(images)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (n,) of images (n, c, h, w), large for real ones."""
        return self.head(self.features(images))
