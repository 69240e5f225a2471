"""Do recorded runs come out the same if they are trained again? Three at random, by their own commands.

    python benchmarks/retrain.py [COUNT] [--seed SEED]

draws records of results/studies whose row has five seeds or more and that took under three minutes, trains each again
by its command, checks that the recipe still has the record's digest, and compares the scores with those of the row's
other seeds. It writes results/retrained.json. On another kind of CPU, a run is not the same to the last bit: it may be
as far from the record as another seed.
"""

from __future__ import annotations

import json
import math
import random
import shlex
import subprocess
import sys
from argparse import ArgumentParser
from collections import defaultdict
from pathlib import Path
from statistics import fmean, stdev
from tempfile import TemporaryDirectory
from typing import Any

import torch

from ganzoo.config.schema import training_digest
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo.runs.records import final_scores, own_protocol
from ganzoo_studies.records import ScoredRun, read_runs

RESULTS = Path(__file__).resolve().parent.parent / "results"
OUTCOME = RESULTS / "retrained.json"
SEEDS = 5
LONGEST = 180.0  # seconds of training
MEASURE = "fid@mnist-ae"  # of the averaged weights, or of the only ones


def score_of(scores: tuple[dict[str, Any], ...]) -> float | None:
    """The first score by the measure: that of the averaged weights if there are any."""
    return next((score["value"] for score in scores if score["metric"] == MEASURE), None)


def rows(runs: list[ScoredRun]) -> list[list[ScoredRun]]:
    """Runs that differ only in their seeds, of rows that have enough of them and are short."""
    found = defaultdict(list)
    for run in runs:
        if run.record.status == "done" and score_of(run.scores) is not None and run.record.seconds <= LONGEST:
            found[run.record.digest, run.record.dataset].append(run)
    return [row for row in found.values() if len({run.record.seed for run in row}) >= SEEDS]


def again(run: ScoredRun, row: list[ScoredRun]) -> dict[str, Any]:
    """Train a record's run again and compare it with its row, in logs."""
    logs = [math.log(score_of(other.scores) or math.nan) for other in row]
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        command = [sys.executable, "-m", *shlex.split(run.record.command), "--out", str(folder)]
        subprocess.run(
            command, cwd=RESULTS / "studies", check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        made = RunFolder.open(folder)
        recipe = made.recipe(load_zoo())
        score = score_of(tuple(final_scores(made.scores(), own_protocol(recipe))))
    if score is None:
        raise SystemExit(f"{run.record.command} gave no {MEASURE}.")
    return {
        "command": run.record.command,
        "trained on": run.record.hardware,
        "same digest": training_digest(recipe) == run.record.digest,
        "recorded": score_of(run.scores),
        "again": score,
        "seeds": len(row),
        "deviations from the row's mean": round((math.log(score) - fmean(logs)) / stdev(logs), 2),
    }


def main() -> None:
    """Draw, train and write."""
    parser = ArgumentParser()
    parser.add_argument("count", nargs="?", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    chosen = parser.parse_args()
    draw = random.Random(chosen.seed)
    outcome = []
    for row in draw.sample(rows(read_runs(RESULTS / "studies")), chosen.count):
        outcome.append(again(draw.choice(row), row))
        print(json.dumps(outcome[-1], indent=1), flush=True)
    made_on = environment(torch.device("cpu"))
    facts = {
        "command": f"python benchmarks/retrain.py {chosen.count} --seed {chosen.seed}",
        "hardware": hardware_in_words(made_on),
        "versions": made_on["versions"],
        "measure": MEASURE,
        "records": outcome,
    }
    write_atomically(OUTCOME, (json.dumps(facts, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
