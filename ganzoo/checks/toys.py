"""Two small networks to try losses and regularizers with, so that a check depends on nobody's plugin."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ganzoo.api.game import AdversarialGame
from ganzoo.api.objective import AdversarialLoss, Augmentation, Batch, Regularizer
from ganzoo.api.priors import GaussianPrior
from ganzoo.api.spec import Spec

CLASSES = 3
SPEC = Spec((1, 28, 28), GaussianPrior(dim=8), CLASSES)


class Painter(nn.Module):
    """A generator: images (n, c, h, w) in [-1, 1] from codes (n, latent) and labels (n,)."""

    def __init__(self, spec: Spec = SPEC) -> None:
        super().__init__()
        self.spec = spec
        self.label = nn.Embedding(spec.classes, 8)
        self.hidden = nn.Linear(spec.latent + 8, 16)
        self.paint = nn.Linear(16, spec.pixels)

    def forward(self, z: Tensor, label: Tensor) -> Tensor:
        """Images from codes and labels."""
        hidden = self.hidden(torch.cat([z, self.label(label)], 1)).relu()
        images: Tensor = self.paint(hidden).tanh().view(-1, *self.spec.image_shape)
        return images


class LinearHead(nn.Module):
    """Logits (n,) from features (n, width); labels are not looked at."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, 1)

    def forward(self, features: Tensor, label: Tensor | None = None) -> Tensor:
        """Logits from features."""
        logits: Tensor = self.linear(features)
        return logits.squeeze(1)


class Judge(nn.Module):
    """A discriminator that shares its features: logits (n,) from images (n, c, h, w) and labels (n,)."""

    def __init__(self, spec: Spec = SPEC) -> None:
        super().__init__()
        self.feature_width = 16
        self.label = nn.Embedding(spec.classes, 16)
        self.look = nn.Linear(spec.pixels, 16)
        self.head = LinearHead(16)

    def features(self, images: Tensor, label: Tensor) -> Tensor:
        """Features (n, 16) from images and labels."""
        return nn.functional.leaky_relu(self.look(images.flatten(1)) + self.label(label), 0.2)

    def forward(self, images: Tensor, label: Tensor) -> Tensor:
        """Logits from images and labels."""
        logits: Tensor = self.head(self.features(images, label), label)
        return logits


class NonSaturating(AdversarialLoss):
    """The loss that regularizers are tried with (Goodfellow et al. 2014)."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        """-log D(x) - log(1 - D(G(z))) of sigmoids."""
        return nn.functional.softplus(-real).mean() + nn.functional.softplus(fake).mean()

    def generator(self, real: Tensor | None, fake: Tensor) -> Tensor:
        """-log D(G(z)) of sigmoids."""
        return nn.functional.softplus(-fake).mean()


def seed(number: int) -> None:
    """Seed torch's generator, without ``torch.manual_seed``: a check watches whether somebody else calls that."""
    torch.default_generator.manual_seed(number)


def game(
    loss: AdversarialLoss | None = None,
    regularizers: tuple[Regularizer, ...] = (),
    augmentation: Augmentation | None = None,
) -> tuple[AdversarialGame, nn.ModuleDict]:
    """A conditional game of the two, bound, from one seed."""
    seed(5)
    networks = nn.ModuleDict({"generator": Painter(), "discriminator": Judge()})
    found = AdversarialGame(loss or NonSaturating(), regularizers, augmentation)
    networks.update(found.bind(SPEC, dict(networks.items())))
    return found, networks


def batch(n: int = 8, spec: Spec = SPEC) -> Batch:
    """Random images, codes of the prior, and labels that take turns."""
    label = torch.arange(n) % max(1, spec.classes)
    z = spec.prior.sample(n, torch.Generator().manual_seed(0), torch.device("cpu"))
    return Batch(torch.rand(n, *spec.image_shape) * 2 - 1, label, z)
