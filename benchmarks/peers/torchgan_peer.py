"""torchgan's DCGAN, as its introductory tutorial trains it on MNIST: least squares, two Adams, batches of 64.

The tutorial enlarges the digits to 32x32; here they are padded, so that samples can be scored at native size. At the
end of an epoch, its ``Trainer`` saves a grid with an argument that torchvision has since dropped; ``serving`` explains
why it never gets that far.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from serving import Loader, Peer, padded_mnist, serve
from torch import nn
from torch.optim import Adam
from torchgan.losses import LeastSquaresDiscriminatorLoss, LeastSquaresGeneratorLoss
from torchgan.models import DCGANDiscriminator, DCGANGenerator
from torchgan.trainer import Trainer

BATCH = 64
BETAS = (0.5, 0.999)


def build(args: argparse.Namespace, device: torch.device, scratch: Path) -> Peer:
    """The tutorial's networks, optimizers and losses."""
    generator = {"encoding_dims": 100, "out_channels": 1, "step_channels": 32, "nonlinearity": nn.LeakyReLU(0.2)}
    discriminator = {"in_channels": 1, "step_channels": 32, "nonlinearity": nn.LeakyReLU(0.2)}
    models = {
        "generator": {
            "name": DCGANGenerator,
            "args": {**generator, "last_nonlinearity": nn.Tanh()},
            "optimizer": {"name": Adam, "args": {"lr": 1e-4, "betas": BETAS}},
        },
        "discriminator": {
            "name": DCGANDiscriminator,
            "args": {**discriminator, "last_nonlinearity": nn.LeakyReLU(0.2)},
            "optimizer": {"name": Adam, "args": {"lr": 3e-4, "betas": BETAS}},
        },
    }
    trainer = Trainer(
        models,
        [LeastSquaresGeneratorLoss(), LeastSquaresDiscriminatorLoss()],
        sample_size=64,
        epochs=1,
        device=device,
        checkpoints=str(scratch / "model" / "gan"),
        recon=str(scratch / "images"),
    )
    return Peer(
        distribution="torchgan",
        networks={"generator": trainer.generator, "discriminator": trainer.discriminator},
        draw=lambda n: trainer.generator(*trainer.generator.sampler(n, device)),
        train=trainer,
        loader=Loader(padded_mnist(args.data), batch_size=args.batch, shuffle=True, drop_last=True),
        settings="its introductory tutorial's DCGAN with least squares",
    )


if __name__ == "__main__":
    serve(build, BATCH)
