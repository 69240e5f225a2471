"""Whether an image costs the same in a large dataset as in a small one, and at the end of a run as at the beginning.

    python benchmarks/flatness.py --out results/flatness.json

Run it on an otherwise idle Linux machine. It trains the recipe on different numbers of images from its dataset, in
turns, and compares the medians; then it trains for some minutes, and compares the time per image and the memory use of
the last minute with those of the first.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import torch

from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe, training_digest
from ganzoo.errors import GanzooError
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment
from ganzoo.training.device import use_available_cores
from ganzoo.training.trainer import Trainer

SIZES = (1_000, 10_000, 60_000)
ROUNDS = 15
SECONDS = 0.5
"""Seconds of training in a round."""


def main() -> None:
    """Measure both, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="vanilla-mnist")
    parser.add_argument("--minutes", type=int, default=4, help="length of the long training run")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    use_available_cores()
    try:
        zoo = load_zoo()
        recipe = load_recipe(args.recipe, zoo, ["train.device=cpu"])
    except GanzooError as error:
        sys.exit(str(error))
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
    trainer = Trainer(recipe, zoo, dataset=dataset)
    outcome = {
        "recipe": args.recipe,
        "digest": training_digest(recipe),
        "precision": trainer.precision,
        "over_sizes": over_sizes(recipe, zoo, dataset),
        "over_minutes": over_minutes(trainer, args.minutes),
        "environment": environment(torch.device("cpu")),
    }
    text = json.dumps(outcome, indent=2)
    print(text)
    if args.out:
        write_atomically(args.out, f"{text}\n".encode())


def over_sizes(recipe: Recipe, zoo: Zoo, dataset: Dataset) -> dict[str, Any]:
    """Microseconds per image by the number of training images, and the largest median divided by the smallest."""
    sizes = sorted({min(n, len(dataset)) for n in SIZES})
    trainers = {n: Trainer(recipe, zoo, dataset=dataset.rows(torch.arange(n))) for n in sizes}
    steps = {n: steps_in(trainer) for n, trainer in trainers.items()}
    costs: dict[int, list[float]] = {n: [] for n in sizes}
    for _ in range(ROUNDS):
        for n, trainer in trainers.items():
            costs[n].append(cost(trainer, steps[n]))
    medians = {n: median(values) for n, values in costs.items()}
    return {"microseconds_an_image": medians, "largest_over_smallest": max(medians.values()) / min(medians.values())}


def over_minutes(trainer: Trainer, minutes: int) -> dict[str, Any]:
    """Microseconds per image and megabytes in use, minute by minute, and the last minute's divided by the first's."""
    steps = steps_in(trainer)
    costs, memory = [], []
    for _ in range(minutes):
        ends, spent = perf_counter() + 60, []
        while perf_counter() < ends:
            spent.append(cost(trainer, steps))
        costs.append(median(spent))
        memory.append(resident_megabytes())
    return {
        "microseconds_an_image": costs,
        "megabytes": memory,
        "time_last_over_first": costs[-1] / costs[0],
        "memory_last_over_first": memory[-1] / memory[0],
    }


def steps_in(trainer: Trainer) -> int:
    """Number of steps that fill a round, measured after a few warm-up steps."""
    cost(trainer, 5)
    return max(1, round(SECONDS / (cost(trainer, 5) * 1e-6 * trainer.images_per_step)))


def cost(trainer: Trainer, steps: int) -> float:
    """Microseconds per image."""
    started_at = perf_counter()
    for _ in range(steps):
        trainer.step()
    trainer.meters.flush()
    trainer.gradients.flush()
    return (perf_counter() - started_at) / (steps * trainer.images_per_step) * 1e6


def resident_megabytes() -> float:
    """The current resident memory of this process, in megabytes."""
    pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    main()
