"""Kills trainings at random, resumes them until they are done, and compares each with one that was never killed.

    python tests/faults/kill_storm.py --kills 200 --seed 0

Every process is a fork of one that has imported everything, which costs milliseconds instead of seconds; each really
calls ``loop.start`` or ``loop.resume`` and is really killed by SIGKILL. Half of the kills come after a random
time, from outside. The others come just before a random one of the file operations in the run folder, where there is
most to break: those instants are too short to be met by chance. The verdict is printed as JSON.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import torch

from ganzoo.recipes.loading import Recipe, load_recipe
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs import loop
from ganzoo.runs.folder import RunFolder

RECIPE = "vanilla-ring"
SETTINGS = [
    "networks.generator.hidden=[8]",
    "networks.discriminator.hidden=[8]",
    "train.batch_size=16",
    "train.images=480",
    "train.log_every=64",
    "train.checkpoint_seconds=0",
    "train.device=cpu",
    "evaluate.every_images=160",
    "evaluate.samples=200",
]
FILE_EVENTS = ("open", "os.rename", "os.remove", "os.mkdir", "os.truncate", "os.rmdir")
ENOUGH_TRIES = 400
UNREACHED = 10**9


class Storm:
    """One zoo, one recipe, one whole run to compare with, and trainings that are killed.

    Args:
        place: An empty folder.
        seed: Of where the kills fall.
    """

    def __init__(self, place: Path, seed: int) -> None:
        self.place = place
        self.random = random.Random(seed)
        self.zoo: Zoo = load_zoo()
        self.recipe: Recipe = load_recipe(RECIPE, self.zoo, SETTINGS)
        self.kills: Counter[str] = Counter()
        self.failures: list[str] = []
        self.trainings = 0
        whole = place / "whole" / "run"
        whole.parent.mkdir()
        self._measure(whole)  # fills the caches, and tells what is imported late
        shutil.rmtree(whole)
        self.seconds, self.operations = self._measure(whole)
        self.expected = _outcome(whole)

    def _measure(self, folder: Path) -> tuple[float, int]:
        """What a whole run takes: seconds, and file operations. Afterwards this process has imported all of it."""
        told = self.place / "told"

        def work() -> None:
            counted = _die_before(folder, UNREACHED)
            loop.start(self.recipe, self.zoo, folder)
            told.write_text(json.dumps({"operations": counted(), "modules": sorted(sys.modules)}))

        began = time.monotonic()
        os.waitpid(_fork(work), 0)
        seconds, report = time.monotonic() - began, json.loads(told.read_text())
        for module in report["modules"]:
            with suppress(Exception):  # some exist only once others have made them
                import_module(module)
        gc.freeze()  # what is shared stays shared in the forks
        return seconds, report["operations"]

    def rage(self, kills: int) -> None:
        """Train until so many kills have struck."""
        while self.kills.total() < kills:
            self.trainings += 1
            folder = self.place / f"run-{self.trainings}" / "run"
            for _ in range(ENOUGH_TRIES):
                spare = self.kills.total() >= kills or self.random.random() < 0.15
                if self._train(folder, None if spare else self._weapon()):
                    break
            self._judge(folder)
            shutil.rmtree(folder.parent)

    def verdict(self) -> dict[str, Any]:
        """What happened."""
        return {
            "kills": self.kills.total(),
            **{f"kills_{how}": count for how, count in sorted(self.kills.items())},
            "trainings": self.trainings,
            "compared": "tensors of the last checkpoint, scores, pictures, train and score events, stray files",
            "failures": self.failures,
            "survived": not self.failures,
        }

    def _weapon(self) -> tuple[str, float]:
        if self.random.random() < 0.5:
            return "by_clock", self.random.uniform(0, self.seconds)
        return "by_file_operation", self.random.randrange(self.operations)

    def _train(self, folder: Path, weapon: tuple[str, float] | None = None) -> bool:
        """Start or resume in a process of its own; whether it ended by itself."""
        how, when = weapon or ("", 0)
        folder.parent.mkdir(exist_ok=True)
        process = _fork(lambda: self._work(folder, int(when) if how == "by_file_operation" else UNREACHED))
        if how == "by_clock":
            time.sleep(when)
            os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status) and how:
            self.kills[how] += 1
            return False
        if status != 0:
            self.failures.append(f"{folder.parent.name}: a process ended with status {status}")
        return True

    def _work(self, folder: Path, operation: int) -> None:
        _die_before(folder, operation)
        if not (folder / "run.json").exists():
            loop.start(self.recipe, self.zoo, folder)
        elif RunFolder.open(folder).info["status"] != "done":  # the kill may have come after the last word
            loop.resume(folder, self.zoo)

    def _judge(self, folder: Path) -> None:
        found = _outcome(folder)
        self.failures += [
            f"{folder.parent.name}: {what} differ: {found[what]} instead of {wanted}"
            for what, wanted in self.expected.items()
            if found[what] != wanted
        ]


def _fork(work: Callable[[], None]) -> int:
    """A child that does some work and ends, without running anything of its parent's afterwards."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        work()
        code = 0
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
    finally:
        os._exit(code)


def _die_before(folder: Path, operation: int) -> Callable[[], int]:
    """Kill this process before its n-th operation on a file in the folder or beside it; tells how many there were."""
    place, done = str(folder.parent), 0

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal done
        if event in FILE_EVENTS and str(arguments[0]).startswith(place):
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    return lambda: done


def _outcome(folder: Path) -> dict[str, Any]:
    """Everything about a finished run that no kill may change; digests where it is long."""
    run = RunFolder.open(folder)
    events = run.events()
    checkpoint = run.latest_checkpoint()
    kept = ("metric", "value", "floor", "weights", "images", "protocol")
    return {
        "status": run.info["status"],
        "tensors": {name: hash(tensor.numpy().tobytes()) for name, tensor in checkpoint.tensors.items()},
        "steps": checkpoint.state["steps"],
        "scores": [{key: score[key] for key in kept} for score in run.scores()],
        "train events": [event["images"] for event in events if event["event"] == "train"],
        "score events": [(e["images"], e["metric"], e["weights"]) for e in events if e["event"] == "score"],
        "damage": run.damage(),
        "pictures": {path.name: hash(path.read_bytes()) for path in sorted(folder.glob("samples/*.png"))},
        "files": sorted(str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if path.is_file()),
    }


def main() -> int:
    """Rage, and print the verdict."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ganzoo-storm-") as place:
        storm = Storm(Path(place), asked.seed)
        storm.rage(asked.kills)
    print(json.dumps({"seed": asked.seed, **storm.verdict()}, indent=1))
    return 0 if not storm.failures else 1


if __name__ == "__main__":
    sys.exit(main())
