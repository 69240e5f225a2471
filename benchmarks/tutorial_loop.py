"""The training loop of a GAN tutorial, as most people first write it; ganzoo's speed is compared with it.

torchvision's MNIST with ToTensor and Normalize, a DataLoader with its defaults, binary cross-entropy, two Adams. It
uses nothing from ganzoo. The networks are those of the recipe ``vanilla-mnist``, layer by layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn, optim
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import MNIST

LATENT = 100
BATCH = 128


def build_generator() -> nn.Module:
    """From (n, 100) to (n, 784) in [-1, 1]."""
    return nn.Sequential(
        nn.Linear(LATENT, 128),
        nn.LeakyReLU(0.2),
        nn.Linear(128, 256, bias=False),
        nn.BatchNorm1d(256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 512, bias=False),
        nn.BatchNorm1d(512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 1024, bias=False),
        nn.BatchNorm1d(1024),
        nn.LeakyReLU(0.2),
        nn.Linear(1024, 784),
        nn.Tanh(),
    )


def build_discriminator() -> nn.Module:
    """From (n, 784) to probabilities (n, 1)."""
    return nn.Sequential(
        nn.Linear(784, 512),
        nn.LeakyReLU(0.2),
        nn.Linear(512, 256),
        nn.LeakyReLU(0.2),
        nn.Linear(256, 1),
        nn.Sigmoid(),
    )


class TutorialLoop:
    """Trains for a given number of batches, continuing where it stopped.

    Args:
        root: The folder that holds torchvision's MNIST.
        device: Where it trains.
    """

    def __init__(self, root: Path, device: torch.device) -> None:
        transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.5,), (0.5,))])
        self.loader = DataLoader(MNIST(root, train=True, transform=transform), batch_size=BATCH, shuffle=True)
        self.device = device
        self.generator = build_generator().to(device)
        self.discriminator = build_discriminator().to(device)
        self.g_optimizer = optim.Adam(self.generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.d_optimizer = optim.Adam(self.discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
        self.criterion = nn.BCELoss()
        self._batches = self._endless()

    def _endless(self) -> Iterator[Tensor]:
        while True:
            for images, _ in self.loader:
                # Only full batches, so that the number of images shown is known exactly.
                if len(images) == BATCH:
                    yield images

    def train(self, batches: int) -> None:
        """Take this many steps, each on a batch of 128 images."""
        for _ in range(batches):
            self.step(next(self._batches))

    def step(self, images: Tensor) -> tuple[float, float]:
        """Train the discriminator, then the generator, on one batch; returns both losses, as tutorials print them."""
        real = images.view(-1, 784).to(self.device)
        ones = torch.ones(len(real), 1, device=self.device)
        zeros = torch.zeros(len(real), 1, device=self.device)

        self.d_optimizer.zero_grad()
        fake = self.generator(torch.randn(len(real), LATENT, device=self.device))
        d_loss = self.criterion(self.discriminator(real), ones)
        d_loss = d_loss + self.criterion(self.discriminator(fake.detach()), zeros)
        d_loss.backward()
        self.d_optimizer.step()

        self.g_optimizer.zero_grad()
        g_loss = self.criterion(self.discriminator(fake), ones)
        g_loss.backward()
        self.g_optimizer.step()
        return d_loss.item(), g_loss.item()
