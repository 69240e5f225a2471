"""Where the time of a training step goes: ``python benchmarks/profile_step.py RECIPE... --out results/profile.md``.

Torch's profiler measures the self time of each operator. Operators are grouped by purpose; the time between them is
attributed to Python, though some of it is the profiler's own. Shares are of CPU time, so this is for CPUs only.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import torch

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment, in_words
from ganzoo.training.device import use_available_cores
from ganzoo.training.trainer import Trainer
from ganzoo.training.tuning import shares_of_a_step
from ganzoo_studies.cost import flops_per_image
from machine import gemm_peak

STEPS, WARM_UP = 40, 5


def main() -> None:
    """Profile the recipes named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+", metavar="RECIPE")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    args = parser.parse_args()
    use_available_cores()
    try:
        zoo = load_zoo()
        columns = {name: measured(name, args.overrides, zoo) for name in args.recipes}
    except GanzooError as error:
        sys.exit(str(error))
    table = markdown(columns, args.overrides)
    print(table)
    if args.out:
        write_atomically(args.out, table.encode())


def measured(name: str, overrides: list[str], zoo: Zoo) -> dict[str, str]:
    """One recipe's column."""
    recipe = load_recipe(name, zoo, [*overrides, "train.device=cpu"])
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
    trainer = Trainer(recipe, zoo, dataset=dataset)
    for _ in range(WARM_UP):
        trainer.step()
    started_at = perf_counter()
    for _ in range(STEPS):
        trainer.step()
    rate = STEPS * trainer.images_per_step / (perf_counter() - started_at)
    shares = shares_of_a_step(trainer, STEPS)
    work, peak = flops_per_image(recipe, zoo, dataset), gemm_peak(torch.device("cpu"), trainer.precision)
    return {
        "batch, precision": f"{recipe.train.batch_size}, {trainer.precision}",
        "images/s": f"{rate:,.0f}",
        "MFLOP an image": f"{work / 1e6:.1f}",
        "GFLOP/s": f"{work * rate / 1e9:,.0f}",
        "of the fastest matrix product's": f"{work * rate / peak:.0%}",
        **{kind: f"{share:.0%}" for kind, share in shares.items()},
    }


def markdown(columns: Mapping[str, Mapping[str, str]], overrides: list[str]) -> str:
    """The table, a column for each recipe."""
    command = ["python", "benchmarks/profile_step.py", *columns]
    command += [word for override in overrides for word in ("--set", override)]
    first = next(iter(columns.values()))
    return "\n".join(
        [
            f"Made by `{shlex.join(command)}` on {in_words(environment(torch.device('cpu')))}.",
            "",
            f"| | {' | '.join(columns)} |",
            f"| --- |{' ---: |' * len(columns)}",
            *(f"| {row} | {' | '.join(column[row] for column in columns.values())} |" for row in first),
            "",
        ]
    )


if __name__ == "__main__":
    main()
