"""How long training takes until samples first score better than a target, in seconds and images, without evaluation.

    python benchmarks/time_to_fid.py --recipe vanilla-mnist --tutorial --peer torchgan --seeds 0 1 2

trains each contender once with each seed, scores its samples at regular intervals of training time, and appends one
line per run to a JSON-lines file. Runs that already have a line are not measured again. At the end, or immediately with
--summary, it prints the table of means and deviations and writes it next to the file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import partial
from pathlib import Path
from typing import Any

import torch

from contenders import Contender, Ours, Peer, Tutorial
from fid_table import first_below, markdown
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import training_digest
from ganzoo.errors import GanzooError, RunError
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.files import locked_append, read_lines, write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo.training.device import use_available_cores
from peers.catalogue import PEERS
from peers.talk import PeerError, mnist_folder

SCHEMA = 1
METRIC = "fid@mnist-cnn"
SAMPLE_SEED = 0


@dataclass(frozen=True)
class Entrant:
    """A contender that has not started yet.

    Attributes:
        kind: ``recipe``, ``tutorial`` or ``peer``.
        name: Its name in the table.
        seed: Seed of everything that it draws at random.
        begin: Creates the contender.
        digest: Training digest, if the name alone does not identify the training.
    """

    kind: str
    name: str
    seed: int
    begin: Callable[[], Contender]
    digest: str | None = None


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", action="append", default=[], metavar="NAME", help="may be repeated")
    parser.add_argument("--tutorial", action="store_true", help="the loop of benchmarks/tutorial_loop.py")
    parser.add_argument("--peer", action="append", default=[], choices=list(PEERS), help="may be repeated")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], metavar="SEED")
    parser.add_argument("--marks", type=float, nargs="+", default=[20, 10, 5, 2, 1], metavar="FID", help="targets")
    parser.add_argument("--seconds", type=float, default=300, help="longest training per contender and seed")
    parser.add_argument("--every", type=float, default=20, help="seconds of training between two scores")
    parser.add_argument("--samples", type=int, default=10_000, help="images that each score is computed from")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, default=Path("results/time-to-fid.jsonl"))
    parser.add_argument("--summary", action="store_true", help="measure nothing, only make the table")
    args = parser.parse_args(arguments)
    if min(args.seconds, args.every) <= 0:
        parser.error("--seconds and --every must be greater than 0")
    return args


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, then make the table."""
    args = parse(arguments)
    try:
        if not args.summary:
            measure(args)
        table = markdown(read_lines(args.out), args.marks)
        write_atomically(args.out.with_suffix(".md"), table.encode())
    except (GanzooError, PeerError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit("Stopped. The same command continues with the runs that are not in the file yet.")
    print(table)


def measure(args: argparse.Namespace) -> None:
    """Measure the runs missing from the file, seed by seed, so that machine drift affects all contenders alike."""
    zoo, device = load_zoo(), resolve_device(args.device)
    use_available_cores()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    evaluator = Evaluator([METRIC], zoo.datasets.get("mnist"), {}, None, zoo, device)
    evaluator.prepare()
    for entrant in entrants(args, zoo, device):
        if any(settles(line, entrant, args, device) for line in read_lines(args.out)):
            print(f"{entrant.name}, seed {entrant.seed}: already measured")
            continue
        line = run(entrant, evaluator, args, device)
        locked_append(args.out, [line], durable=True)


def entrants(args: argparse.Namespace, zoo: Zoo, device: torch.device) -> Iterator[Entrant]:
    """The requested contenders; anything that can be refused is refused before the first of them trains.

    Raises:
        GanzooError: A recipe is unknown or trains on another dataset, or a peer is not installed.
    """
    recipes = [load_recipe(name, zoo) for name in args.recipe]
    for recipe in recipes:
        if recipe.dataset.name != "mnist" or recipe.dataset.options:
            raise GanzooError(f"Recipe '{recipe.name}' does not train on plain MNIST.", "Leave it out.")
    for name in args.peer:
        if missing := PEERS[name].missing():
            raise GanzooError(missing, "Otherwise, leave it out.")
    dataset, data = zoo.datasets.get("mnist").create("train", None), mnist_folder()
    for seed in args.seeds:
        for name in args.recipe:
            recipe = load_recipe(name, zoo, [f"train.seed={seed}"])
            yield Entrant(
                "recipe", recipe.name, seed, partial(Ours, recipe, zoo, dataset, device), training_digest(recipe)
            )
        if args.tutorial:
            yield Entrant("tutorial", Tutorial.name, seed, partial(Tutorial, data, seed, device))
        for name in args.peer:
            yield Entrant("peer", name, seed, partial(Peer, PEERS[name], data, seed, device))


def settles(line: dict[str, Any], entrant: Entrant, args: argparse.Namespace, device: torch.device) -> bool:
    """Whether a line answers the request: the same training, scored at the same interval, for long enough."""
    there, here = line["environment"], environment(device)
    same = (
        line["schema"] == SCHEMA
        and (line["kind"], line["contender"], line["seed"]) == (entrant.kind, entrant.name, entrant.seed)
        and line["facts"].get("digest") == entrant.digest
        and (line["every"], line["samples"]) == (args.every, args.samples)
        and (hardware_in_words(there), there["threads"]) == (hardware_in_words(here), here["threads"])
        and there["versions"]["torch"] == here["versions"]["torch"]
    )
    # A run that ended at a target says nothing about a harder target, whatever its time limit was.
    lasted = line["ended"] == "time" and line["limit"] >= args.seconds
    far = lasted or first_below(line["curve"], min(args.marks)) is not None
    return same and (far or line["ended"] not in ("time", "marks"))


def run(entrant: Entrant, evaluator: Evaluator, args: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Train one contender with one seed, and return its line."""
    contender = entrant.begin()
    curve: list[dict[str, Any]] = []
    try:
        ended = follow(contender, evaluator, args, curve)
    except (RunError, PeerError) as error:
        ended = str(error)  # a failed run is an outcome too
    finally:
        contender.close()
    return {
        "schema": SCHEMA,
        "contender": entrant.name,
        "kind": entrant.kind,
        "seed": entrant.seed,
        "metric": METRIC,
        "weights": contender.weights,
        "samples": args.samples,
        "every": args.every,
        "limit": args.seconds,
        "ended": ended,
        "marks": {f"{mark:g}": first_below(curve, mark) for mark in args.marks},
        "curve": curve,
        "facts": contender.facts,
        "environment": environment(device),
        "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def follow(contender: Contender, evaluator: Evaluator, args: argparse.Namespace, curve: list[dict[str, Any]]) -> str:
    """Train and score in turns; returns why training ended: ``marks``, ``time`` or ``schedule``."""
    seconds, steps = 0.0, 0
    while seconds < args.seconds:
        taken, took = train_for(contender, min(args.every, args.seconds - seconds))
        steps, seconds = steps + taken, seconds + took
        (measured,) = evaluator.score(
            contender.sample(args.samples, SAMPLE_SEED), sample_seed=SAMPLE_SEED, weights=contender.weights
        )
        images = steps * contender.images_per_step
        curve.append({"seconds": round(seconds, 3), "images": images, "value": measured.value})
        print(
            f"{contender.name}: {METRIC} {measured.value:.2f} after {seconds:.1f} s and {images:,} images", flush=True
        )
        if measured.value < min(args.marks):
            return "marks"
        if contender.steps_left == 0:
            return "schedule"
    return "time"


def train_for(contender: Contender, seconds: float) -> tuple[int, float]:
    """Train for about this many seconds, or to the end of the schedule; returns the steps and seconds taken."""
    taken, took, ask = 0, 0.0, 1
    while took < seconds and contender.steps_left != 0:
        ask = ask if contender.steps_left is None else min(ask, contender.steps_left)
        took += contender.train(ask)
        taken += ask
        # As many steps as fill the remaining time at the speed so far, at most 4 times those taken: the first are slow.
        ask = max(1, min(round((seconds - took) * taken / took), 4 * taken))
    return taken, took


if __name__ == "__main__":
    main()
