"""Scores after short training of a fixed length with three seeds: a quick look at each recipe, not figures to rank by.

The times are training times, one round for each seed.
"""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from contenders import Ours
from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import SAMPLE_SEED
from summary import throughput

IMAGES = 12_800
SEEDS = (0, 1, 2)
SAMPLES = 10_000


def test_scores(
    benchmark: BenchmarkFixture, zoo: Zoo, recipe_name: str, device: torch.device, request: pytest.FixtureRequest
) -> None:
    """The headline's first metric, and all its Fréchet distances; with ``--quick``, a tenth of the images."""
    images = IMAGES // 10 if request.config.getoption("quick") else IMAGES
    recipes = [load_recipe(recipe_name, zoo, [f"train.images={images}", f"train.seed={seed}"]) for seed in SEEDS]
    headline = recipes[0].evaluate.metrics
    metrics = [name for number, name in enumerate(headline) if number == 0 or name.startswith("fid@")]
    if not metrics:
        pytest.skip(f"the recipe '{recipe_name}' measures nothing")
    entry, options = zoo.datasets.get(recipes[0].dataset.name), recipes[0].dataset.options
    dataset = entry.create("train", None, **options)
    evaluator = Evaluator(metrics, entry, options, None, zoo, device)
    trained: list[Ours] = []

    def untrained() -> tuple[tuple[Ours], dict[str, object]]:
        trained.append(Ours(recipes[len(trained)], zoo, dataset, device))
        return (trained[-1],), {}

    benchmark.pedantic(lambda ours: ours.train(ours.trainer.total_steps), setup=untrained, rounds=len(SEEDS))
    scores: dict[str, list[float]] = {}
    for ours in trained:
        trainer = ours.trainer
        samples, labels = draw(
            trainer.objective,
            trainer.sampling_networks(ours.weights),
            SAMPLES,
            seed=SAMPLE_SEED,
            device=device,
            classes=trainer.objective.spec.classes,
        )
        measured = evaluator.score(
            samples, sample_seed=SAMPLE_SEED, weights=ours.weights, labels=labels, interval=False
        )
        for one in measured:
            scores.setdefault(one.metric, []).append(one.value)
    benchmark.extra_info.update(
        throughput(trained[0].trainer.images, benchmark.stats.stats),
        recipe=recipe_name,
        seeds=list(SEEDS),
        scores=scores,
        floors={one.metric: one.floor for one in measured},
        protocols={one.metric: one.protocol for one in measured},
        **trained[0].facts,
    )
    assert all(value > one.floor for one in measured if one.metric.startswith("fid@") for value in scores[one.metric])
