"""The cost of watching the health of training: the same recipe with and without, interleaved.

The two alternate round by round, because a machine's speed drifts by more than the cost to be measured.
"""

from __future__ import annotations

from collections.abc import Callable
from statistics import median
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.step import WATCH_EVERY
from ganzoo.training.trainer import Trainer

STEPS = 2 * WATCH_EVERY  # so that every round takes the same number of readings
ROUNDS = 20
WARMUP = 2
MOST = 0.02


def unwatched(recipe: Recipe, zoo: Zoo, dataset: Dataset, device: torch.device) -> Trainer:
    """A trainer whose steps read no gradient norms."""
    trainer = Trainer(recipe, zoo, dataset=dataset, device=device)
    for group in trainer.step_groups:
        for phase in group.phases:
            phase.gradient_norms = dict  # type: ignore[method-assign]
    return trainer


def test_watching_costs_less_than_two_percent(
    benchmark: BenchmarkFixture,
    zoo: Zoo,
    mnist: Dataset,
    device: torch.device,
    finished: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe = load_recipe("vanilla-mnist", zoo)
    watched, blind = Trainer(recipe, zoo, dataset=mnist, device=device), unwatched(recipe, zoo, mnist, device)
    blind_times: list[float] = []

    def train(trainer: Trainer) -> None:
        for _ in range(STEPS):
            trainer.step()
        trainer.gradients.flush()
        finished()

    def blind_round() -> None:
        started_at = perf_counter()
        train(blind)
        blind_times.append(perf_counter() - started_at)

    benchmark.pedantic(train, args=(watched,), setup=blind_round, rounds=ROUNDS, warmup_rounds=WARMUP)
    ratios = [mine / other for mine, other in zip(benchmark.stats.stats.data, blind_times[-ROUNDS:], strict=True)]
    reading = reading_seconds(watched, finished)
    share = reading / (median(blind_times[-ROUNDS:]) * WATCH_EVERY / STEPS)
    benchmark.extra_info.update(
        recipe="vanilla-mnist", precision=watched.precision, ratio=median(ratios), reading_seconds=reading, share=share
    )
    with capsys.disabled():
        print(f"\nwatched / unwatched {median(ratios):.4f}")
        print(f"a reading takes {reading * 1e3:.2f} ms, {share:.2%} of the {WATCH_EVERY} steps it covers")
    # The ratio of complete rounds is as noisy as the machine; the share is timed separately, so it decides.
    assert share < MOST


def reading_seconds(trainer: Trainer, finished: Callable[[], None]) -> float:
    """The median time of one reading of all phases, which is taken every ``WATCH_EVERY`` steps."""
    phases = [phase for group in trainer.step_groups for phase in group.phases]
    times = []
    for _ in range(50):
        started_at = perf_counter()
        for phase in phases:
            trainer.gradients.add(phase.name, phase.gradient_norms())
        finished()
        times.append(perf_counter() - started_at)
    trainer.gradients.flush()
    return median(times)
