"""Whether recipes still train as well as they did: short runs with three seeds, checked against committed intervals.

    python benchmarks/quality_gate.py check                              # against results/quality-gate.json
    python benchmarks/quality_gate.py record vanilla-mnist wgan-gp-mnist # rewrites that file

``record`` chooses the number of images for each recipe so that a run takes about ``--cpu-seconds`` on this machine, and
trains it with each seed as `ganzoo bench` does, with one thread, in fp32, eager. ``check`` repeats these runs and
compares the mean over seeds of each headline score (for a Fréchet distance, of its logarithm) with

    mean ± t(99.9%) sd sqrt(2 / seeds)

where sd is the recipe's own standard deviation between seeds or, if larger, the typical one over all recipes, which is
the geometric mean, so that a recipe whose seeds differ widely does not widen the others' intervals. t has the pooled
degrees of freedom of all recipes. On another CPU, rounding differs, so a run ends as one with another seed would; the
interval allows for that. A score that is better than its interval fails too: record the file again, or find out what is
wrong with the score. The exit code is 1 if any score is outside its interval.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, variance
from time import process_time

import torch
from scipy.special import digamma
from scipy.stats import t

from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.errors import GanzooError
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment, in_words
from ganzoo.training.trainer import Trainer
from ganzoo_studies.matrix import Job, jobs_of
from ganzoo_studies.records import Ledger, ScoredRun
from ganzoo_studies.worker import Bench, Settings, Watcher

SCHEMA = 1
CONFIDENCE = 0.999
LEAST_LOG, LEAST = 0.05, 0.02
"""The smallest half-width of an interval: for the logarithm of a Fréchet distance, and for other scores."""
HOW = ("train.precision=fp32", "train.engine=eager", "train.threads=1", "train.device=cpu", "train.until=null")
Scores = Mapping[str, Mapping[str, Sequence[float]]]
"""Scores by recipe and metric, one for each seed."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Record intervals, or check against them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["record", "check"])
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="for check, all in the file by default")
    parser.add_argument("--file", type=Path, default=Path("results/quality-gate.json"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED", help="for record")
    parser.add_argument("--cpu-seconds", type=float, default=60, help="for record: length of each training run")
    parser.add_argument("--samples", type=int, default=10_000, help="for record: images behind each score")
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="for check")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, each with one thread")
    args = parser.parse_args(arguments)
    try:
        outside = record(args, load_zoo()) if args.task == "record" else check(args, load_zoo())
    except GanzooError as error:
        sys.exit(str(error))
    sys.exit(int(outside))


def record(args: argparse.Namespace, zoo: Zoo) -> bool:
    """Train and write the file; returns False, since no score can be outside its interval."""
    if not args.recipes:
        raise GanzooError("`record` needs the names of recipes.", "Name about four whose settings are final.")
    if len(set(args.seeds)) < max(2, len(args.seeds)):
        raise GanzooError("A deviation needs runs with two seeds or more, each given once.", "Set --seeds 0 1 2.")
    args.file.parent.mkdir(parents=True, exist_ok=True)
    images = {name: images_in(args.cpu_seconds, name, zoo) for name in args.recipes}
    command = ["record", *args.recipes, "--cpu-seconds", f"{args.cpu_seconds:g}", "--samples", str(args.samples)]
    command += ["--seeds", *map(str, args.seeds)]
    scores = trained(images, args.seeds, args.samples, args.jobs, (), zoo)
    intervals = intervals_of(scores)
    content = {
        "schema": SCHEMA,
        "made_by": shlex.join(["python", "benchmarks/quality_gate.py", *command]),
        "settings": list(HOW),
        "seeds": args.seeds,
        "samples": args.samples,
        "recipes": {
            name: {
                "images": images[name],
                "digest": training_digest(load_recipe(name, zoo)),
                "scores": {
                    metric: {"values": list(values), "interval": list(intervals[name][metric])}
                    for metric, values in scores[name].items()
                },
            }
            for name in args.recipes
        },
        "environment": {**environment(torch.device("cpu")), "threads": 1},
    }
    write_atomically(args.file, f"{json.dumps(content, indent=2)}\n".encode())
    print(f"Saved to {args.file}.")
    return False


def check(args: argparse.Namespace, zoo: Zoo) -> bool:
    """Train again, and print which scores are outside their intervals; returns whether any is."""
    if not args.file.exists():
        raise GanzooError(f"There are no intervals: {args.file} does not exist.", "Create it with `record`.")
    known = json.loads(args.file.read_text("utf-8"))
    if known["schema"] != SCHEMA:
        raise GanzooError(f"{args.file} has schema {known['schema']}; this script reads {SCHEMA}.", "Record it again.")
    names = args.recipes or list(known["recipes"])
    if unknown := set(names) - set(known["recipes"]):
        raise GanzooError(f"{args.file} has no intervals for {', '.join(sorted(unknown))}.", "Record it again.")
    print(f"Intervals made on {in_words(known['environment'])}.")
    images = {name: known["recipes"][name]["images"] for name in names}
    scores = trained(images, known["seeds"], known["samples"], args.jobs, args.overrides, zoo)
    outside = False
    for name in names:
        changed = training_digest(load_recipe(name, zoo)) != known["recipes"][name]["digest"]
        for metric, recorded in known["recipes"][name]["scores"].items():
            if metric not in scores[name]:
                raise GanzooError(
                    f"{metric} did not score {name} here.",
                    "Install the plugin that provides this metric, or record the file again.",
                )
            low, high = recorded["interval"]
            value = centre(metric, scores[name][metric])
            verdict = "ok" if low <= value <= high else "OUTSIDE"
            outside |= verdict != "ok"
            note = ", whose settings have changed since" if changed and verdict != "ok" else ""
            print(f"{verdict}: {metric} of {name}{note}: {value:.3f}, interval {low:.3f} to {high:.3f}")
    if outside:
        print(f"If this change is intended, record the intervals again: {known['made_by']}")
    return outside


def images_in(seconds: float, name: str, zoo: Zoo) -> int:
    """The number of images shown in ``seconds`` CPU seconds of single-threaded training, to two significant digits."""
    recipe = load_recipe(name, zoo, HOW)
    dataset = zoo.datasets.get(recipe.dataset.name).create("train", None, **recipe.dataset.options)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        trainer = Trainer(recipe, zoo, dataset=dataset)
        for _ in range(3):
            trainer.step()
        started_at, steps = process_time(), trainer.steps
        while process_time() - started_at < 2:
            trainer.step()
        images = seconds * (trainer.steps - steps) * trainer.images_per_step / (process_time() - started_at)
    finally:
        torch.set_num_threads(threads)
    digit = 10 ** max(0, math.floor(math.log10(images)) - 1)
    return max(trainer.images_per_step, round(images / digit) * digit)


def trained(
    images: Mapping[str, int], seeds: Sequence[int], samples: int, parallel: int, overrides: Sequence[str], zoo: Zoo
) -> Scores:
    """Final headline scores of the reported weights, by recipe and metric, in the order of the seeds.

    Raises:
        GanzooError: A run failed or is missing, or lacks a score.
    """
    jobs: list[Job] = []
    for name, n in images.items():
        length = [f"train.images={n}", "evaluate.every_images=null", f"evaluate.samples={samples}"]
        jobs += jobs_of(zoo, [name], seeds=seeds, overrides=[*HOW, *length, *overrides])
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder) / "results")
        settings = Settings(Path(folder) / "work", parallel=parallel, threads=1)
        bench = Bench(zoo, ledger, settings, Sayer())
        runs = bench.run(jobs)
    if len(runs) < len(jobs) or bench.unscored:
        raise GanzooError(f"{len(runs)} of {len(jobs)} runs ended, {len(bench.unscored)} of them without a score.")
    scores: dict[str, dict[str, list[float]]] = {name: {} for name in images}
    for run in sorted(runs, key=lambda run: seeds.index(run.record.seed)):
        if run.record.status == "failed":
            raise GanzooError(f"{run.record.recipe}, seed {run.record.seed}, failed: {run.record.error}", "")
        for score in run.scores:
            if score["weights"] == run.scores[0]["weights"]:
                scores[run.record.recipe].setdefault(score["metric"], []).append(score["value"])
    for name, metric in {(job.recipe.name, metric) for job in jobs for metric in job.recipe.evaluate.metrics}:
        if (n := len(scores[name].get(metric, ()))) < len(seeds):
            raise GanzooError(f"{name} has {n} of {len(seeds)} scores of {metric}.")
    return scores


class Sayer(Watcher):
    """Prints a line for every run that ends."""

    def ended(self, job: Job, run: ScoredRun | None, *, elsewhere: bool = False) -> None:
        """Print the first score, or what went wrong."""
        outcome = f"{run.scores[0]['value']:.3f}" if run and run.scores else (run.record.error if run else "stopped")
        print(f"{job.recipe.name}, seed {job.seed}: {outcome}", flush=True)

    def say(self, sentence: str, style: str | None = None) -> None:
        """Print a sentence, such as why a run has no scores."""
        print(sentence, flush=True)


def intervals_of(scores: Scores) -> dict[str, dict[str, tuple[float, float]]]:
    """Intervals for the mean of the same number of other runs, by recipe and metric; see the module's docstring."""
    intervals: dict[str, dict[str, tuple[float, float]]] = {name: {} for name in scores}
    for metric in dict.fromkeys(metric for by_metric in scores.values() for metric in by_metric):
        values = {name: scaled(metric, by[metric]) for name, by in scores.items() if metric in by}
        least = LEAST_LOG if is_distance(metric) else LEAST
        own = {name: max(variance(ys), 1e-12) for name, ys in values.items()}
        # The log of a variance estimated from few values is too small on average; digamma gives this bias.
        bias = [digamma((len(ys) - 1) / 2) - math.log((len(ys) - 1) / 2) for ys in values.values()]
        typical = math.exp(fmean(map(math.log, own.values())) - fmean(bias))
        quantile = float(t.ppf((1 + CONFIDENCE) / 2, sum(len(ys) - 1 for ys in values.values())))
        for name, ys in values.items():
            width = max(quantile * math.sqrt(2 * max(own[name], typical) / len(ys)), least)
            intervals[name][metric] = fmean(ys) - width, fmean(ys) + width
    return intervals


def is_distance(metric: str) -> bool:
    """Whether it is a Fréchet distance, whose deviation grows with its value."""
    return metric.startswith("fid@")


def scaled(metric: str, values: Sequence[float]) -> list[float]:
    """Values on the scale of the intervals."""
    return [math.log(max(value, 1e-9)) for value in values] if is_distance(metric) else list(values)


def centre(metric: str, values: Sequence[float]) -> float:
    """The mean on that scale."""
    return fmean(scaled(metric, values))


if __name__ == "__main__":
    main()
