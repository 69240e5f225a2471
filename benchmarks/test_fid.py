"""How long a score takes, and what a training of fixed, short length scores."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor

from ganzoo import ImageDataset
from ganzoo.evaluation.judge import Judge
from ganzoo.evaluation.sampling import draw
from ganzoo.plugins import Zoo
from ganzoo.recipe import load_recipe
from ganzoo.training.trainer import Trainer

IMAGES = 100_000
SAMPLES = 10_000
SEED = 0


@pytest.fixture(scope="module")
def trained(zoo: Zoo, mnist: ImageDataset, device: torch.device) -> Trainer:
    """vanilla-mnist, after 100,000 real images."""
    recipe = load_recipe("vanilla-mnist", zoo, [f"train.images={IMAGES}"])
    trainer = Trainer(recipe, zoo, dataset=mnist, device=device)
    for _ in range(trainer.total_steps):
        trainer.step()
    return trainer


def samples(trainer: Trainer) -> Tensor:
    networks = trainer.sampling_networks("ema")
    return draw(trainer.objective, networks, SAMPLES, seed=SEED, device=trainer.device)[0]


def test_draw(benchmark: BenchmarkFixture, trained: Trainer) -> None:
    images = benchmark.pedantic(samples, args=(trained,), rounds=5, warmup_rounds=1)
    assert images.shape == (SAMPLES, 1, 28, 28)
    benchmark.extra_info["images_per_second"] = SAMPLES / benchmark.stats.stats.median


def test_fid(benchmark: BenchmarkFixture, zoo: Zoo, trained: Trainer, device: torch.device) -> None:
    dataset = trained.recipe.dataset
    judge = Judge(["fid@mnist-cnn"], zoo.datasets.get(dataset.name), dataset.options, None, zoo, device)
    images = samples(trained)
    (measured,) = benchmark.pedantic(
        judge.score,
        args=(images,),
        kwargs={"sample_seed": SEED, "weights": "ema"},
        rounds=3,
        warmup_rounds=1,
    )
    benchmark.extra_info.update(
        fid=measured.value,
        floor=measured.floor,
        training_images=trained.images,
        precision=trained.precision,
        protocol=measured.protocol,
    )
    assert measured.value > measured.floor
