"""How many real images a second training takes in, evaluation and pictures excluded."""

from __future__ import annotations

from collections.abc import Callable

import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ganzoo import ImageDataset
from ganzoo.plugins import Zoo
from ganzoo.recipe import load_recipe
from ganzoo.training.trainer import Trainer

STEPS = 20
ROUNDS = 12


def test_step(
    benchmark: BenchmarkFixture,
    zoo: Zoo,
    mnist: ImageDataset,
    device: torch.device,
    finished: Callable[[], None],
) -> None:
    trainer = Trainer(load_recipe("vanilla-mnist", zoo), zoo, dataset=mnist, device=device)

    def train() -> None:
        for _ in range(STEPS):
            trainer.step()
        finished()

    benchmark.pedantic(train, rounds=ROUNDS, warmup_rounds=2)
    images = STEPS * trainer.images_per_step
    benchmark.extra_info.update(
        recipe="vanilla-mnist",
        engine=trainer.engine.name,
        precision=trainer.precision,
        images_per_round=images,
        images_per_second=images / benchmark.stats.stats.median,
    )
