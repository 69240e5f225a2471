"""Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv:1611.07004, in small.

L = E[log D(y)] + E[log(1 - D(G(x, z)))] + weight * E[|y - G(x, z)|]
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import l1_loss, softplus

from ganzoo import (
    Batch,
    Losses,
    Networks,
    Objective,
    Phase,
    Prior,
    Register,
    RegisterRecipe,
    Spec,
    functional,
    hookimpl,
    layers,
)

PAPER = "Isola et al. 2017, Image-to-Image Translation with Conditional Adversarial Networks, arXiv:1611.07004"


class Translation(Objective):
    """An adversarial loss, and an L1 distance to the image that belongs to the source.

    Args:
        weight: Factor of the distance.
    """

    generates_from = ("source",)

    def __init__(self, *, weight: float = 10.0) -> None:
        super().__init__()
        self.weight = weight

    def phases(self) -> list[Phase]:
        """The discriminator's turn, then the generator's."""
        return [
            Phase("discriminator", ("discriminator",), self.discriminator_loss),
            Phase("generator", ("generator",), self.generator_loss),
        ]

    def generate(self, networks: Networks, z: Tensor, label: Tensor, source: Tensor | None = None) -> Tensor:
        """Images from latent codes and sources."""
        images: Tensor = networks["generator"](z, source=source)
        return images

    def discriminator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Real images up, translated ones down."""
        with torch.no_grad():
            fake = self.fakes(networks, batch)
        real_logits = networks["discriminator"](batch.real).float()
        fake_logits = networks["discriminator"](fake).float()
        return {"loss": softplus(-real_logits).mean() + softplus(fake_logits).mean()}

    def generator_loss(self, networks: Networks, batch: Batch) -> Losses:
        """Translated images up, and close to the real ones."""
        fake = self.fakes(networks, batch)
        distance = l1_loss(fake, batch.real)
        fake_logits = networks["discriminator"](fake).float()
        return {"loss": softplus(-fake_logits).mean() + self.weight * distance, "l1": distance}


class Translator(nn.Module):
    """Adds to the source what a small convolutional network makes of it and the latent code.

    Args:
        spec: Image and latent sizes.
        width: Feature maps.
    """

    def __init__(self, spec: Spec, *, width: int = 16) -> None:
        super().__init__()
        self.shape = spec.shape
        self.code = nn.Linear(spec.latent, width)
        self.inner = nn.Sequential(*layers.image_norm("instance", width), nn.ReLU())
        self.first = layers.xavier_conv2d(spec.channels, width)
        self.last = nn.Conv2d(width, spec.channels, 3, padding=1)

    def forward(self, z: Tensor, *, source: Tensor | None = None) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent) and sources of the same shape, grey where None."""
        if source is None:
            source = z.new_zeros(len(z), *self.shape)
        hidden = self.inner(self.first(source) + self.code(z)[..., None, None])
        return torch.tanh(self.last(hidden).float())  # in bfloat16, tanh would get stuck at ±1


class SpherePrior(Prior):
    """Codes uniformly on the unit sphere (Karras et al. 2018, ProGAN, normalises its codes so).

    Args:
        dim: Width of a latent code.
    """

    name = "sphere"

    def __init__(self, *, dim: int = 16) -> None:
        self.dim = dim

    @property
    def width(self) -> int:
        """Width of a latent code."""
        return self.dim

    def sample(self, n: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Codes (n, dim) of length 1."""
        drawn = torch.randn(n, self.dim, generator=generator, device=device)
        return drawn / functional.norm(drawn)[:, None]


@hookimpl
def register_losses(register: Register[Objective]) -> None:
    """The objective."""
    register("translation", Translation, summary="pix2pix in small", paper=PAPER)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    """The generator."""
    register("translator", Translator, summary="Adds to its source", paper=PAPER)


@hookimpl
def register_priors(register: Register[Prior]) -> None:
    """The prior."""
    register("sphere", SpherePrior, summary="Uniform on the unit sphere")


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The recipe."""
    register(Path(__file__).with_name("translation-inverted.yaml"))
