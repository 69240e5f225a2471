"""Training speed in real images/s, by recipe, engine and number format.

Evaluation and pictures are excluded. A round is the same amount of work in every run, whatever the machine's speed, so
times can be compared between number formats in one table, and between two runs with --benchmark-compare.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe, training_digest
from ganzoo.registry.loading import Zoo
from ganzoo.training.engines import WARM_UP
from ganzoo.training.trainer import Trainer
from ganzoo_studies.cost import flops_per_image
from machine import gemm_peak
from summary import throughput

IMAGES = {"cpu": 2_560, "cuda": 51_200}
"""Images in one round, by device, rounded to whole steps."""
Datasets = Callable[[Recipe], Dataset]


@pytest.fixture(scope="module")
def datasets(zoo: Zoo) -> Datasets:
    """A recipe's training images, each set loaded once."""
    known: dict[str, Dataset] = {}

    def of(recipe: Recipe) -> Dataset:
        key = recipe.dataset.model_dump_json()
        if key not in known:
            known[key] = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
        return known[key]

    return of


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_step(
    benchmark: BenchmarkFixture,
    zoo: Zoo,
    datasets: Datasets,
    device: torch.device,
    finished: Callable[[], None],
    rounds: int,
    recipe_name: str,
    engine_name: str,
    precision: str,
) -> None:
    if engine_name.endswith("cudagraph") and device.type != "cuda":
        pytest.skip("CUDA graphs need a GPU")
    recipe = load_recipe(recipe_name, zoo, [f"train.precision={precision}", f"train.engine={engine_name}"])
    dataset = datasets(recipe)
    trainer = Trainer(recipe, zoo, dataset=dataset, device=device)
    if precision == "auto" and trainer.precision == "fp32":
        pytest.skip("auto is fp32 on this device, which is measured separately")
    steps = max(1, round(IMAGES.get(device.type, IMAGES["cuda"]) / trainer.images_per_step))
    for _ in range(WARM_UP + 1):  # during the last one, the engine compiles and captures
        trainer.step()

    def train() -> None:
        for _ in range(steps):
            trainer.step()
        finished()

    benchmark.pedantic(train, rounds=rounds, warmup_rounds=1)
    rates = throughput(steps * trainer.images_per_step, benchmark.stats.stats)
    work = flops_per_image(recipe, zoo, dataset)
    peak = gemm_peak(device, trainer.precision)
    benchmark.extra_info.update(
        rates,
        recipe=recipe_name,
        digest=training_digest(recipe),
        engine=trainer.engine.name,
        precision=trainer.precision,
        threads=torch.get_num_threads(),
        parameters=trainer.assembly.parameter_counts(),
        flops_per_image=work,
        gemm_peak=peak,
        share_of_gemm_peak=work * rates["images_per_second"] / peak,
    )
