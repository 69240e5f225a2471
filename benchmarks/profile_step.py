"""Where the time of a training step goes: ``python benchmarks/profile_step.py RECIPE... --out results/profile.md``.

Torch's profiler measures the self time of each operator. Operators are grouped by purpose; the time between them is
attributed to Python, though some of it is the profiler's own. Shares are of CPU time, so this is for CPUs only.
"""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from time import perf_counter

import torch
from torch.profiler import ProfilerActivity, profile, record_function

from ganzoo.config.loading import load_recipe
from ganzoo.errors import GanzooError
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment, in_words
from ganzoo.training.device import use_available_cores
from ganzoo.training.trainer import Trainer
from ganzoo_studies.cost import flops_per_image
from machine import gemm_peak

STEPS, WARM_UP = 40, 5
STEP = "a step of the training"
KINDS: Mapping[str, tuple[str, ...]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"),
    "convolutions": ("convolution", "conv2d", "conv_transpose2d", "mkldnn"),
    "optimizer and moving average": ("adam", "rmsprop", "sgd", "Optimizer", "lerp", "_foreach"),
    "normalisation": ("batch_norm", "layer_norm", "group_norm", "native_norm"),
    "activations and loss": ("relu", "tanh", "sigmoid", "softplus", "threshold", "clamp", "elu", "log_sigmoid"),
    "images, latents and random numbers": ("index", "gather", "rand", "normal_", "uniform_", "multinomial"),
    "copies and number formats": ("copy_", "cat", "contiguous", "clone", "aten::to", "_to_copy"),
    "Python between operators": (STEP,),
}
"""Parts of operators' names; the first kind that matches counts, and the rest is ``other``."""


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


def shares_of_a_step(trainer: Trainer, steps: int = 40) -> dict[str, float]:
    """Shares of the time of some steps, by kind of work; they sum to 1.

    The steps are undone, so training continues bit for bit. The profiler itself takes some of the time, most of it
    between operators. On a GPU, this is the host's time, which is spent on launching operators.

    Args:
        trainer: A trainer past its first steps, which allocate memory.
        steps: How many steps to profile.
    """
    # Keeps the profiler's library from writing its own log to the terminal, unless the user wants it.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with trainer.rehearsal(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            with record_function(STEP):
                trainer.step()
    spent: Counter[str] = Counter(dict.fromkeys((*KINDS, "other"), 0.0))
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: time / spent.total() for kind, time in spent.items()}


def kind_of(operator: str) -> str:
    """The kind of work that an operator does."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "other")


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
