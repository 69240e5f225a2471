"""Registers a recipe in which no phase trains the generator."""

from pathlib import Path

from ganzoo import Objective, Phase, hookimpl


class OneSided(Objective):
    """Trains the discriminator alone."""

    def phases(self):
        return [Phase("discriminator", ("discriminator",), self.loss)]

    def loss(self, networks, batch):
        return {"loss": networks["discriminator"](batch.real).square().mean()}


@hookimpl
def register_losses(register):
    register("one-sided", OneSided, summary="Trains the discriminator alone", paper="Someone 2020")


@hookimpl
def register_recipes(register):
    register(Path(__file__).with_name("one-sided-mnist.yaml"))
