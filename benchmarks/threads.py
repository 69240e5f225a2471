"""How much of a CPU's speed `train.threads: auto` keeps, alone and alongside another program.

    python benchmarks/threads.py vanilla-mnist dcgan-mnist flagship-mnist

Each recipe is trained by `ganzoo run` for about the same time, in turns: with each fixed number of threads, with
`auto`, and with `auto` alongside a process that keeps one core busy. Speeds are in images per second, as medians over
the rounds, and include the measurements that `auto` makes. `of_best_fixed` is the speed with `auto` divided by that
with the fastest fixed number, both alone; `kept_beside_another` is the speed with `auto` alongside the other process
divided by that with `auto` alone. Prints one JSON object per recipe. Run it on an otherwise idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from ganzoo.files import child_python, parse_json
from ganzoo.training.device import VARIABLES, available_cores

ALONE, BESIDE = "auto", "auto beside another"
TRIAL_IMAGES = 6400
"""Images of the first run, which only determines how many images fill a round."""


@contextmanager
def busy_process() -> Iterator[subprocess.Popen[bytes]]:
    """A process that keeps one core busy until the block ends."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def trained(recipe: str, threads: str, images: int) -> dict[str, Any]:
    """Train in a separate process, and return its run.json."""
    settings = {"device": "cpu", "precision": "fp32", "threads": threads, "images": images}
    words = [word for key, value in settings.items() for word in ("--set", f"train.{key}={value}")]
    words += ["--set", f"evaluate.every_images={images}", "--set", "evaluate.metrics=[]"]
    with tempfile.TemporaryDirectory() as folder:
        command = child_python("ganzoo", "run", recipe, *words, "--out", str(Path(folder, "run")))
        # `auto` obeys these variables instead of measuring.
        env = {name: value for name, value in os.environ.items() if name not in VARIABLES}
        done = subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            sys.exit(done.stderr)
        run: dict[str, Any] = parse_json(Path(folder, "run", "run.json").read_bytes())
        return run


def compared(recipe: str, rounds: int, seconds: float) -> dict[str, object]:
    """Images per second by number of threads, and the two ratios."""
    first = trained(recipe, "auto", TRIAL_IMAGES)
    images = max(TRIAL_IMAGES, round(first["images_per_second"] * seconds))
    fixed = [str(n) for n in range(1, available_cores() + 1)]
    rates: dict[str, list[float]] = {arm: [] for arm in (*fixed, ALONE, BESIDE)}
    for _ in range(rounds):
        for arm, values in rates.items():
            with busy_process() if arm == BESIDE else nullcontext():
                run = trained(recipe, arm if arm in fixed else "auto", images)
            values.append(run["images_per_second"])
    medians = {arm: statistics.median(values) for arm, values in rates.items()}
    return {
        "recipe": recipe,
        "precision": first["precision"],
        "images": images,
        "images_per_second": rates,
        "of_best_fixed": medians[ALONE] / max(medians[arm] for arm in fixed),
        "kept_beside_another": medians[BESIDE] / medians[ALONE],
        "environment": first["environment"],
    }


def main() -> None:
    """Measure one recipe after another."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=30, help="approximate length of one training run")
    args = parser.parse_args()
    for recipe in args.recipes:
        print(json.dumps(compared(recipe, args.rounds, args.seconds)), flush=True)


if __name__ == "__main__":
    main()
