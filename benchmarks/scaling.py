"""How much faster two single-threaded processes train than one: ``python benchmarks/scaling.py`` on an idle machine.

One process and two train the same recipe with the same batch size, in turns. ``ratio`` is the ratio of the median
speeds; 2 would be perfect. ``cpu_ratio`` is the ratio that the amount of work alone allows: the number of processes
times the CPU seconds of one process alone, divided by the CPU seconds of all of them together. It is below 2 because
every process duplicates some work (optimizer, averages, Python) and exchanges gradients; it depends little on other
load. If ``ratio`` is much smaller, processes wait for one another or share a core's matrix units. Prints one JSON
object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROUNDS = 3


def main() -> None:
    """Measure, or, if torchrun started this process, be measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    # Convolutions need much computation for each weight that is exchanged.
    parser.add_argument("--recipe", default="dcgan-mnist")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    if "TORCHELASTIC_RUN_ID" in os.environ:
        work(args.recipe, args.steps, args.overrides)
        return
    from ganzoo.config.loading import load_recipe
    from ganzoo.errors import GanzooError
    from ganzoo.registry.loading import load_zoo

    try:
        load_recipe(args.recipe, load_zoo(), args.overrides)  # refuse it here with one message, not in every process
    except GanzooError as error:
        sys.exit(str(error))
    print(json.dumps(compare(args.processes)))


def compare(processes: int) -> dict[str, object]:
    """Images per second of one process and of several, in turns, and the ratio of their medians."""
    rounds = [{n: measured(n) for n in (1, processes)} for _ in range(ROUNDS)]
    rates = {n: [one[n]["images_per_second"] for one in rounds] for n in (1, processes)}
    medians = {n: statistics.median(values) for n, values in rates.items()}
    work = {n: statistics.median(one[n]["cpu_seconds"] for one in rounds) for n in (1, processes)}
    return {
        **{key: rounds[0][1][key] for key in ("recipe", "digest", "precision", "engine", "batch_size", "steps")},
        "images_per_second": rates,
        "ratio": medians[processes] / medians[1],
        "cpu_ratio": processes * work[1] / work[processes],
        "environment": rounds[0][1]["environment"],
    }


def measured(processes: int) -> dict[str, Any]:
    """The measurements of a run with this many single-threaded processes."""
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launcher, str(Path(__file__).resolve()), *sys.argv[1:]]
    done = subprocess.run(
        command, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.PIPE, text=True, check=True
    )
    measurements: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return measurements


def work(recipe_name: str, steps: int, overrides: list[str]) -> None:
    """Train for this many steps with the other processes; the main one prints how fast they all were together."""
    import torch

    from ganzoo.config.loading import load_recipe
    from ganzoo.config.schema import training_digest
    from ganzoo.registry.loading import load_zoo
    from ganzoo.runs.provenance import environment
    from ganzoo.training.distributed import joined
    from ganzoo.training.trainer import Trainer

    torch.set_num_threads(1)
    zoo = load_zoo()
    recipe = load_recipe(recipe_name, zoo, ["train.device=cpu", *overrides])
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
    with joined() as processes:
        trainer = Trainer(recipe, zoo, dataset=dataset, processes=processes)
        for _ in range(3):
            trainer.step()
        processes.any(True)  # wait until all processes are here
        started_at, worked = time.perf_counter(), time.process_time()
        for _ in range(steps):
            trainer.step()
        processes.any(True)
        rate = steps * trainer.images_per_step / (time.perf_counter() - started_at)
        cpu_seconds = torch.tensor(time.process_time() - worked, dtype=torch.float64)
        processes.all_reduce_sum(cpu_seconds)
        if processes.is_main:
            measurements = {
                "recipe": recipe_name,
                "digest": training_digest(recipe),
                "precision": trainer.precision,
                "engine": trainer.engine.name,
                "batch_size": recipe.train.batch_size,
                "steps": steps,
                "environment": environment(trainer.device),
                "images_per_second": rate,
                "cpu_seconds": cpu_seconds.item(),
            }
            print(json.dumps(measurements))


if __name__ == "__main__":
    main()
