"""torch-mimicry's DCGAN for 32x32 images, with the settings that its README gives for that size.

Batches of 64, Adam with learning rate 2e-4 and betas (0, 0.9), linear decay over 100,000 steps, and five discriminator
steps per generator step. It supports only three channels, so the digits, padded to 32x32, are repeated.

It imports two modules that are missing: ``torch._six``, which torch has dropped, and tensorflow, which only its metrics
use. Stand-ins replace them; nothing that is measured uses either.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from types import ModuleType

import torch
import torch.utils.tensorboard  # now, so that it looks for tensorflow before the stand-in exists, and does without
from serving import Loader, Peer, padded_mnist, serve
from torch.optim import Adam

BATCH = 64
STEPS = 100_000
CRITIC_STEPS = 5


def stand_in(name: str, **members: object) -> None:
    """Install a stand-in module that has only these members."""
    module = ModuleType(name)
    vars(module).update(members)
    sys.modules[name] = module


stand_in("torch._six", PY3=True, string_classes=(str, bytes))
stand_in("tensorflow")

from torch_mimicry.nets import dcgan  # noqa: E402 - the stand-ins come first
from torch_mimicry.training import Trainer  # noqa: E402


def build(args: argparse.Namespace, device: torch.device, scratch: Path) -> Peer:
    """The README's example, with the package's DCGAN instead of its SNGAN."""
    generator = dcgan.DCGANGenerator32().to(device)
    discriminator = dcgan.DCGANDiscriminator32().to(device)
    data = padded_mnist(args.data, channels=3)
    loader = Loader(data, batch_size=args.batch, shuffle=True, drop_last=True, num_workers=min(4, os.cpu_count() or 1))

    def train(batches: Loader) -> None:
        Trainer(
            netD=discriminator,
            netG=generator,
            optD=Adam(discriminator.parameters(), 2e-4, betas=(0.0, 0.9)),
            optG=Adam(generator.parameters(), 2e-4, betas=(0.0, 0.9)),
            n_dis=CRITIC_STEPS,
            num_steps=STEPS,
            lr_decay="linear",
            dataloader=batches,
            log_dir=str(scratch / "log"),
            device=device,
        ).train()

    return Peer(
        distribution="torch-mimicry",
        networks={"generator": generator, "discriminator": discriminator},
        draw=lambda n: generator.generate_images(n, device=device).mean(dim=1, keepdim=True),
        train=train,
        loader=loader,
        settings="its README's settings for 32x32 images, five steps of the discriminator to one of the generator",
        batches_per_step=CRITIC_STEPS,
    )


if __name__ == "__main__":
    serve(build, BATCH)
