"""What tests of regularizers and augmentations share: a turn made by hand, and an interrupted training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from ganzoo import Batch, ImageDataset, RegularizerContext
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.trainer import Trainer

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
