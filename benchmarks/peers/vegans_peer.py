"""vegans' VanillaGAN with its own networks for MNIST, trained as in its README: Adam, batches of 32.

``fit`` calls the ``next`` method of iterators, which torch has dropped; the loader here still has it. Its own MNIST
loader downloads pickles, so the same preprocessing is done here: pixels in [0, 1], padded to 32x32.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
import vegans.utils.loading as loading
from serving import PADDING, Loader, Peer, serve
from torchvision.datasets import MNIST
from vegans.GAN import VanillaGAN
from vegans.utils import DataSet

BATCH = 32
SHAPE = (1, 32, 32)
LATENT = 64


def build(args: argparse.Namespace, device: torch.device, scratch: Path) -> Peer:
    """The README's example of unsupervised learning."""
    networks = loading.MNISTLoader(root=str(scratch))
    gan = VanillaGAN(
        generator=networks.load_generator(x_dim=SHAPE, z_dim=LATENT, y_dim=None),
        adversary=networks.load_adversary(x_dim=SHAPE, y_dim=None),
        z_dim=LATENT,
        x_dim=SHAPE,
        folder=None,
        device=device.type,
        ngpu=0,
    )
    loader = Loader(DataSet(X=padded(args.data)), batch_size=args.batch, shuffle=True, drop_last=True)
    return Peer(
        distribution="vegans",
        networks={"generator": gan.generator, "discriminator": gan.adversary},
        draw=lambda n: gan.generate(n=n) * 2 - 1,
        train=lambda batches: gan.fit(batches, epochs=1, batch_size=args.batch, enable_tensorboard=False),
        loader=loader,
        settings="its README's VanillaGAN with its own networks for MNIST",
    )


def padded(folder: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """All training images, float32 (60000, 1, 32, 32) in [0, 1]."""
    images = MNIST(folder, train=True).data.numpy().astype(np.float32) / 255
    sides = (PADDING, PADDING)
    return np.pad(images, [(0, 0), sides, sides]).reshape(-1, *SHAPE)


if __name__ == "__main__":
    serve(build, BATCH)
