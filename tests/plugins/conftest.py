"""Shared by tests of plugins: a regularizer's context, the losses of each phase, and an interrupted training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ganzoo import (
    AdversarialGame,
    AdversarialLoss,
    Batch,
    GaussianPrior,
    ImageDataset,
    Losses,
    Networks,
    Regularizer,
    RegularizerContext,
    Spec,
)
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.trainer import Trainer
from ganzoo_plugins.networks.mlp import Discriminator, Generator

Critic = Callable[[Tensor], Tensor]
SMALL = [
    "networks.generator={name: mlp, hidden: [16]}",
    "networks.discriminator={name: mlp, hidden: [16]}",
    "train.batch_size=16",
    "train.precision=fp32",
    "train.device=cpu",
]


@pytest.fixture
def context() -> Callable[..., RegularizerContext]:
    """A turn of a critic and two batches; anything else by keyword."""

    def make(critic: Critic, real: Tensor, fake: Tensor, **more: object) -> RegularizerContext:
        batch = Batch(real, torch.zeros(len(real), dtype=torch.int64), more.pop("z", torch.zeros(len(real), 1)))
        return RegularizerContext(more.pop("networks", {}), critic, batch, real, fake, **more)

    return make


@pytest.fixture
def play() -> Callable[..., tuple[dict[str, Losses], Networks, Batch]]:
    """The losses of each phase of a game on one batch of four small pictures; with its networks and the batch."""
    spec = Spec((1, 4, 4), GaussianPrior(dim=3))

    def losses(loss: AdversarialLoss, *terms: Regularizer) -> tuple[dict[str, Losses], Networks, Batch]:
        networks = {"generator": Generator(spec, hidden=[8]), "discriminator": Discriminator(spec, hidden=[6])}
        game = AdversarialGame(loss, terms)
        game.bind(spec, networks)
        batch = Batch(torch.rand(4, 1, 4, 4) * 2 - 1, torch.zeros(4, dtype=torch.int64), torch.randn(4, 3))
        return {phase.name: phase.loss(networks, batch) for phase in game.phases()}, networks, batch

    return losses


@pytest.fixture
def interrupted(zoo: Zoo) -> Callable[..., tuple[Trainer, Trainer]]:
    """A recipe trained for six steps at one go, and the same resumed from a checkpoint after three."""

    def train(recipe: str, *overrides: str) -> tuple[Trainer, Trainer]:
        images = torch.randint(256, (64, 1, 28, 28), dtype=torch.uint8)
        data = ImageDataset("mnist", "train", images, torch.arange(64) % 10, tuple("0123456789"))
        settings = load_recipe(recipe, zoo, [*SMALL, *overrides])
        whole, rest = (Trainer(settings, zoo, dataset=data) for _ in range(2))
        for step in range(6):
            if step == 3:
                saved, state = whole.checkpoint()
                saved = {name: tensor.clone() for name, tensor in saved.items()}
            whole.step()
        rest.restore(saved, state)
        for _ in range(3):
            rest.step()
        return whole, rest

    return train
