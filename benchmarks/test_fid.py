"""What a training of fixed, short length scores, by recipe: a look at each on the way, no figure to rank by."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ganzoo.config.identity import training_digest
from ganzoo.config.loading import Recipe, load_recipe
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo
from ganzoo.runs.scores import SAMPLE_SEED
from ganzoo.training.trainer import Trainer

IMAGES = 100_000
SAMPLES = 10_000


@pytest.fixture
def recipe(zoo: Zoo, recipe_name: str, request: pytest.FixtureRequest) -> Recipe:
    """A training of 100,000 real images; of a tenth, where a look is enough."""
    images = IMAGES // 10 if request.config.getoption("quick") else IMAGES
    return load_recipe(recipe_name, zoo, [f"train.images={images}"])


def test_fid(
    benchmark: BenchmarkFixture, zoo: Zoo, recipe: Recipe, device: torch.device, finished: Callable[[], None]
) -> None:
    metrics = [name for name in recipe.evaluate.metrics if name.startswith("fid@")][:1]
    if not metrics:
        pytest.skip(f"the recipe '{recipe.name}' measures no FID")
    entry = zoo.datasets.get(recipe.dataset.name)
    dataset = entry.create("train", None, **recipe.dataset.options)
    evaluator = Evaluator(metrics, entry, recipe.dataset.options, None, zoo, device)
    trainer = Trainer(recipe, zoo, dataset=dataset, device=device)
    began = perf_counter()
    for _ in range(trainer.total_steps):
        trainer.step()
    finished()
    seconds = perf_counter() - began
    weights = trainer.kinds_of_weights[0]
    images, labels = draw(
        trainer.objective,
        trainer.sampling_networks(weights),
        SAMPLES,
        seed=SAMPLE_SEED,
        device=trainer.device,
        classes=trainer.objective.spec.classes,
    )
    (measured,) = benchmark.pedantic(
        evaluator.score,
        args=(images,),
        kwargs={"sample_seed": SAMPLE_SEED, "weights": weights, "labels": labels},
        rounds=2,
        warmup_rounds=1,
    )
    benchmark.extra_info.update(
        recipe=recipe.name,
        digest=training_digest(recipe),
        metric=measured.metric,
        score=measured.value,
        floor=measured.floor,
        seed=recipe.train.seed,
        training_images=trainer.images,
        training_seconds=seconds,
        engine=trainer.engine.name,
        precision=trainer.precision,
        protocol=measured.protocol,
    )
    assert measured.value > measured.floor
