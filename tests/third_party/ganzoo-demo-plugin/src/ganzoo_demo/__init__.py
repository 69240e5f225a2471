"""Savage loss and a generator that paints small and enlarges.

Masnadi-Shirazi and Vasconcelos 2008, "On the Design of Loss Functions for Classification", section 4, for a margin v:

    phi(v) = 1 / (1 + exp(v))^2 = sigmoid(-v)^2

bounded, so that an image the discriminator is hopelessly wrong about does not dominate its step. The paper has no GAN;
here real images have margin D(x), fakes -D(G(z)), and the generator wants its fakes taken for real.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ganzoo import AdversarialLoss, Register, RegisterRecipe, RegisterStudy, Spec, hookimpl
from ganzoo.layers import ImageTanh

PAPER = "Masnadi-Shirazi and Vasconcelos 2008, On the Design of Loss Functions for Classification, NIPS"


class Savage(AdversarialLoss):
    """A bounded loss on margins.

    Args:
        slope: Factor of the logits.
    """

    def __init__(self, *, slope: float = 1.0) -> None:
        super().__init__()
        self.slope = slope

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """phi(D(x)) + phi(-D(G(z)))."""
        return self._phi(real) + self._phi(-fake)

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """phi(D(G(z)))."""
        return self._phi(fake)

    def _phi(self, margin: Tensor) -> Tensor:
        return torch.sigmoid(-self.slope * margin).square().mean()


class Enlarger(nn.Module):
    """Paints a picture of a quarter of the size, enlarges it, and sharpens it.

    Args:
        spec: Image and latent sizes.
        channels: Feature maps of the small picture.
    """

    def __init__(self, spec: Spec, *, channels: int = 32) -> None:
        super().__init__()
        self.small = (channels, -(-spec.height // 4), -(-spec.width // 4))
        self.paint = nn.Sequential(nn.Linear(spec.latent, channels * self.small[1] * self.small[2]), nn.ReLU())
        self.enlarge = nn.Upsample((spec.height, spec.width), mode="bilinear")
        self.sharpen = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, spec.channels, 3, padding=1),
            ImageTanh(),
        )

    def forward(self, z: Tensor) -> Tensor:
        """Images (n, c, h, w) from codes (n, latent)."""
        images: Tensor = self.sharpen(self.enlarge(self.paint(z).view(-1, *self.small)))
        return images


@hookimpl
def register_losses(register: Register[AdversarialLoss]) -> None:
    """The loss."""
    register("demo-savage", Savage, summary="Bounded loss on margins", paper=PAPER)


@hookimpl
def register_generators(register: Register[nn.Module]) -> None:
    """The generator."""
    register("demo-enlarger", Enlarger, summary="Paints small, enlarges, sharpens")


@hookimpl
def register_recipes(register: RegisterRecipe) -> None:
    """The recipe."""
    register(Path(__file__).parent / "demo-mnist.yaml")


@hookimpl
def register_studies(register: RegisterStudy) -> None:
    """The study."""
    register(Path(__file__).parent / "demo-margins.yaml")
