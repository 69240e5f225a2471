"""Kill training runs at random, resume each until it is done, and compare it with a run that was never killed.

    python tests/faults/kill_storm.py --kills 200 --seed 0

Each process is a fork of one that has imported everything, which takes milliseconds instead of seconds; it calls
``loop.start`` or ``loop.resume`` and dies by SIGKILL. Half of the kills come after a random time. The others
come just before a random file operation in the run folder: these moments matter most, and are too short to hit by
chance. The result is printed as JSON.
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

from ganzoo.config.loading import Recipe, load_recipe
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
MAX_RESUMES = 400
NEVER = 10**9


class KillTest:
    """A complete reference run, and runs that are killed.

    Args:
        folder: An empty folder.
        seed: Seed of the kills.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.random = random.Random(seed)
        self.zoo: Zoo = load_zoo()
        self.recipe: Recipe = load_recipe(RECIPE, self.zoo, SETTINGS)
        self.kills: Counter[str] = Counter()
        self.failures: list[str] = []
        self.runs = 0
        reference = folder / "reference" / "run"
        reference.parent.mkdir()
        self._measure(reference)  # fills the caches and finds late imports
        shutil.rmtree(reference)
        self.seconds, self.operations = self._measure(reference)
        self.expected = _outcome(reference)

    def _measure(self, folder: Path) -> tuple[float, int]:
        """The seconds and file operations of a complete run. Imports every module that the run imported."""
        report_path = self.folder / "report.json"

        def work() -> None:
            operations = _die_before(folder, NEVER)
            loop.start(self.recipe, self.zoo, folder)
            report_path.write_text(json.dumps({"operations": operations(), "modules": sorted(sys.modules)}))

        began = time.monotonic()
        os.waitpid(_fork(work), 0)
        seconds, report = time.monotonic() - began, json.loads(report_path.read_text())
        for module in report["modules"]:
            with suppress(Exception):  # some exist only after another module created them
                import_module(module)
        gc.freeze()  # keeps memory shared with the forks
        return seconds, report["operations"]

    def run(self, kills: int) -> None:
        """Train until this many processes were killed."""
        while self.kills.total() < kills:
            self.runs += 1
            folder = self.folder / f"run-{self.runs}" / "run"
            for _ in range(MAX_RESUMES):
                finish = self.kills.total() >= kills or self.random.random() < 0.15
                if self._train(folder, None if finish else self._random_kill()):
                    break
            self._compare(folder)
            shutil.rmtree(folder.parent)

    def result(self) -> dict[str, Any]:
        """The result as JSON."""
        return {
            "kills": self.kills.total(),
            **{f"kills_{how}": count for how, count in sorted(self.kills.items())},
            "trainings": self.runs,
            "compared": "tensors of the last checkpoint, scores, pictures, train and score events, leftover files",
            "failures": self.failures,
            "survived": not self.failures,
        }

    def _random_kill(self) -> tuple[str, float]:
        if self.random.random() < 0.5:
            return "by_clock", self.random.uniform(0, self.seconds)
        return "by_file_operation", self.random.randrange(self.operations)

    def _train(self, folder: Path, kill: tuple[str, float] | None = None) -> bool:
        """Start or resume in a child process; whether it finished."""
        how, when = kill or ("", 0)
        folder.parent.mkdir(exist_ok=True)
        process = _fork(lambda: self._work(folder, int(when) if how == "by_file_operation" else NEVER))
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
        elif RunFolder.open(folder).info["status"] != "done":  # the kill may have come after the last write
            loop.resume(folder, self.zoo)

    def _compare(self, folder: Path) -> None:
        found = _outcome(folder)
        self.failures += [
            f"{folder.parent.name}: {what} differ: {found[what]} instead of {expected}"
            for what, expected in self.expected.items()
            if found[what] != expected
        ]


def _fork(work: Callable[[], None]) -> int:
    """Fork a child that does some work and exits without running the parent's cleanup."""
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
    """Kill this process before its n-th file operation in or beside the folder. Returns a counter of operations."""
    parent, done = str(folder.parent), 0

    def watch(event: str, details: tuple[Any, ...]) -> None:
        nonlocal done
        if event in FILE_EVENTS and str(details[0]).startswith(parent):
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    return lambda: done


def _outcome(folder: Path) -> dict[str, Any]:
    """Everything about a finished run that no kill may change; large content as hashes."""
    run = RunFolder.open(folder)
    events = run.events()
    checkpoint = run.latest_checkpoint()
    keys = ("metric", "value", "floor", "weights", "images", "protocol")
    return {
        "status": run.info["status"],
        "tensors": {name: hash(tensor.numpy().tobytes()) for name, tensor in checkpoint.tensors.items()},
        "steps": checkpoint.state["steps"],
        "scores": [{key: score[key] for key in keys} for score in run.scores()],
        "train events": [event["images"] for event in events if event["event"] == "train"],
        "score events": [(e["images"], e["metric"], e["weights"]) for e in events if e["event"] == "score"],
        "pictures": {path.name: hash(path.read_bytes()) for path in sorted(folder.glob("samples/*.png"))},
        "files": sorted(str(path.relative_to(folder.parent)) for path in folder.parent.rglob("*") if path.is_file()),
    }


def main() -> int:
    """Run the test and print its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="ganzoo-kills-") as folder:
        test = KillTest(Path(folder), arguments.seed)
        test.run(arguments.kills)
    print(json.dumps({"seed": arguments.seed, **test.result()}, indent=1))
    return 0 if not test.failures else 1


if __name__ == "__main__":
    sys.exit(main())
