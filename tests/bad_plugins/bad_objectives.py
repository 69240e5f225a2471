"""Objectives whose own phases wait for the device, train a frozen network, compute in bfloat16, or forget."""

from pathlib import Path

import torch

from ganzoo import Objective, Phase, hookimpl


class Base(Objective):
    """The Wasserstein game, in phases of its own."""

    def phases(self):
        return [
            Phase("discriminator", ("discriminator",), self.critic_loss),
            Phase("generator", ("generator",), self.generator_loss),
        ]

    def critic_loss(self, networks, batch):
        with torch.no_grad():
            fake = self.fakes(networks, batch)
        critic = networks["discriminator"]
        return {"loss": critic(fake).float().mean() - critic(batch.real).float().mean()}

    def generator_loss(self, networks, batch):
        return {"loss": -networks["discriminator"](self.fakes(networks, batch)).float().mean()}


class Waits(Base):
    """Reads a number in each step."""

    def generator_loss(self, networks, batch):
        losses = super().generator_loss(networks, batch)
        self.last = losses["loss"].item()
        return losses


class TrainsBoth(Base):
    """The generator's phase turns the discriminator's gradients on again."""

    def generator_loss(self, networks, batch):
        networks["discriminator"].requires_grad_(True)
        return super().generator_loss(networks, batch)


class Halves(Base):
    """The sum over a batch, in whatever precision the network has."""

    def generator_loss(self, networks, batch):
        return {"loss": -networks["discriminator"](self.fakes(networks, batch)).mean()}


class Forgets(Base):
    """An average that checkpoints do not hold."""

    def __init__(self):
        super().__init__()
        self.average = torch.zeros(())

    def generator_loss(self, networks, batch):
        loss = super().generator_loss(networks, batch)["loss"]
        self.average = 0.9 * self.average + 0.1 * loss.detach()
        return {"loss": loss - self.average}


@hookimpl
def register_losses(register):
    for name, kind in {"waits": Waits, "trains-both": TrainsBoth, "halves": Halves, "forgets": Forgets}.items():
        register(name, kind, summary="Wasserstein, badly", paper="Someone 2020")
    register("unused", Base, summary="Wasserstein, in no recipe", paper="Someone 2020")


@hookimpl
def register_recipes(register):
    for name in ("waits", "trains-both", "halves", "forgets"):
        register(Path(__file__).with_name(f"{name}-mnist.yaml"))
