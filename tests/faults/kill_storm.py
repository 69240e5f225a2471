"""Kill processes that write files at random moments, repeat each command until it is done, and compare the results.

They must equal those of a command that was never killed.

    python tests/faults/kill_storm.py --kills 500 --seed 0
    python tests/faults/kill_storm.py --kills 50 --only bench

``run`` trains and resumes, ``ranks`` does so in two processes, ``bench`` works through a matrix, ``workers`` share one,
and ``report``, ``leaderboard`` and ``new`` run the commands of those names. Each process is a fork of one that has
imported everything, which takes milliseconds instead of seconds, and is killed by SIGKILL. Half of the kills come after
a random time; for a bench, half of those kill its children too, as if the machine failed, and of two ranks they kill
one. The others come just before a random file operation in the folder: these moments matter most, and are too short to
hit by chance. The result is printed as JSON.
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
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from socket import create_server
from typing import Any

import torch

from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.start import resume, start, take_part
from ganzoo.training.distributed import ALONE, Processes, ProcessLost, joined
from ganzoo_checks.scaffold import write
from ganzoo_reports.run_pages import write_report
from ganzoo_studies.leaderboard import write_leaderboard
from ganzoo_studies.matrix import jobs_of
from ganzoo_studies.records import Ledger, ScoredRun, read_runs
from ganzoo_studies.worker import Bench, Settings

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
MAX_REPEATS = 400
NEVER = 10**9
SCORE = ("metric", "value", "floor", "weights", "images", "protocol")


class Scenario:
    """Something that is killed and repeated, in a folder of its own."""

    def __init__(self, zoo: Zoo, shared: Path) -> None:
        """Prepare what all repetitions share, in a folder that nobody kills in."""
        self.zoo = zoo
        self.shared = shared

    def prepare(self, folder: Path) -> None:
        """Put into the empty folder what the command starts from."""

    def work(self, folder: Path) -> None:
        """What the command does, and does again after it was killed."""
        raise NotImplementedError

    def victims(self, process: int, random: random.Random) -> list[int]:
        """What dies at a random time: the process alone, or its children too."""
        return [process, *(_children(process) if random.random() < 0.5 else [])]

    def outcome(self, folder: Path) -> dict[str, Any]:
        """Everything that no kill may change, once it is done; large content as hashes."""
        return _files(folder)

    def _kept(self, folder: Path) -> dict[str, Any]:
        """The same, where times and durations differ."""
        return {
            "damage": _damaged_lines(folder),
            "pictures": {path.name: _hash(path.read_bytes()) for path in sorted(folder.rglob("samples/*.png"))},
            "files": sorted(_files(folder)),
        }


class Run(Scenario):
    """A training, resumed until it is done."""

    def work(self, folder: Path) -> None:
        path = folder / "run"
        begun = (path / "run.json").exists()
        if not begun or RunFolder.open(path).info["status"] != "done":  # the kill may have come after the last write
            self.train(path, begun)

    def train(self, path: Path, begun: bool, processes: Processes = ALONE) -> None:
        """Start or resume it."""
        if begun:
            resume(path, self.zoo, processes=processes)
        else:
            start(load_recipe(RECIPE, self.zoo, SETTINGS), self.zoo, path, processes=processes)

    def outcome(self, folder: Path) -> dict[str, Any]:
        run = RunFolder.open(folder / "run")
        events, checkpoint = run.events(), run.checkpoint()
        return {
            "status": run.info["status"],
            "tensors": {name: _hash(tensor.numpy().tobytes()) for name, tensor in checkpoint.tensors.items()},
            "steps": checkpoint.state["steps"],
            "scores": [{key: score[key] for key in SCORE} for score in run.scores()],
            "train events": [event["images"] for event in events if event["event"] == "train"],
            "score events": [(e["images"], e["metric"], e["weights"]) for e in events if e["event"] == "score"],
            **self._kept(folder),
        }


class Ranks(Run):
    """A training in two processes; one of them is killed, and the other notices."""

    def train(self, path: Path, begun: bool, processes: Processes = ALONE) -> None:
        with create_server(("localhost", 0)) as server:
            port = str(server.getsockname()[1])
        os.environ.update(MASTER_ADDR="localhost", MASTER_PORT=port, WORLD_SIZE="2", TORCHELASTIC_RUN_ID="kills")
        other = _fork(lambda: self._rank(1, path, begun))
        try:
            self._rank(0, path, begun)
            _, status = os.waitpid(other, 0)
        except ProcessLost:
            status = signal.SIGKILL
        if os.WIFSIGNALED(status):  # perhaps when rank 0 no longer needed it
            os.kill(os.getpid(), signal.SIGKILL)  # as torchrun ends all of them
        assert status == 0, status

    def _rank(self, rank: int, path: Path, begun: bool) -> None:
        signal.alarm(30)  # ends a process that waits in vain for one that was killed before they met
        os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
        with joined() as processes:
            if processes.is_main:
                super().train(path, begun, processes)
            else:
                take_part(self.zoo, processes)

    def victims(self, process: int, random: random.Random) -> list[int]:
        return [random.choice([process, *_children(process)])]


class BenchOfTwo(Scenario):
    """A matrix of two seeds, whose trainings are processes of their own."""

    def work(self, folder: Path) -> None:
        jobs = jobs_of(self.zoo, [RECIPE], seeds=[0, 1], overrides=SETTINGS)
        settings = Settings(folder / "work", parallel=2, threads=1)
        Bench(self.zoo, Ledger(folder / "results"), settings).run(jobs)

    def outcome(self, folder: Path) -> dict[str, Any]:
        records = sorted(map(_facts, read_runs(folder / "results")), key=lambda facts: int(facts["seed"]))
        return {"records": records, **self._kept(folder)}


class TwoWorkers(BenchOfTwo):
    """A matrix of four seeds that two workers share; one of them is killed, and the other goes on."""

    def work(self, folder: Path) -> None:
        jobs = jobs_of(self.zoo, [RECIPE], seeds=range(4), overrides=SETTINGS)

        def share() -> None:
            Bench(self.zoo, Ledger(folder / "results"), Settings(folder / "work", threads=1)).run(jobs)

        other = _fork(share)
        share()
        _, status = os.waitpid(other, 0)
        # It inherits the moment at which this process is to be killed.
        assert status in (0, signal.SIGKILL), status

    def outcome(self, folder: Path) -> dict[str, Any]:
        # As written: reading would drop an earlier record of the same run.
        lines = (folder / "results" / "runs.jsonl").read_text().splitlines()
        return {**super().outcome(folder), "recorded": sorted(json.loads(line)["seed"] for line in lines)}


class Report(Scenario):
    """The report of a finished run."""

    def __init__(self, zoo: Zoo, shared: Path) -> None:
        super().__init__(zoo, shared)
        _in_a_fork(lambda: start(load_recipe(RECIPE, zoo, SETTINGS), zoo, shared / "run"))

    def prepare(self, folder: Path) -> None:
        shutil.copytree(self.shared / "run", folder / "run")

    def work(self, folder: Path) -> None:
        write_report(folder / "run", self.zoo, draw=False)


class Leaderboard(Scenario):
    """The pages of recorded runs, one of which was scored once more since."""

    def __init__(self, zoo: Zoo, shared: Path) -> None:
        super().__init__(zoo, shared)

        def work() -> None:
            BenchOfTwo(zoo, shared).work(shared)
            first = next((shared / "work").rglob("run.json")).parent
            scores = RunFolder.open(first).scores()
            again = [{**one, "protocol": {**one["protocol"], "sample_seed": 7}} for one in scores]
            RunFolder.open(first).append_score(*again)

        _in_a_fork(work)

    def prepare(self, folder: Path) -> None:
        for name in ("results", "work"):
            shutil.copytree(self.shared / name, folder / name)
        (folder / "README.md").write_text("<!-- leaderboard:begin --><!-- leaderboard:end -->\n")

    def work(self, folder: Path) -> None:
        write_leaderboard(folder / "results", folder / "README.md", folder / "work")


class New(Scenario):
    """A plugin from the template."""

    def work(self, folder: Path) -> None:
        if not (folder / "plugin").exists():  # else the kill came after the last operation
            write("kill-storm", folder / "plugin")


SCENARIOS: dict[str, tuple[type[Scenario], float]] = {
    "run": (Run, 0.48),
    "ranks": (Ranks, 0.02),
    "bench": (BenchOfTwo, 0.05),
    "workers": (TwoWorkers, 0.05),
    "report": (Report, 0.15),
    "leaderboard": (Leaderboard, 0.15),
    "new": (New, 0.15),
}
"""Each with its share of the kills: a process of a bench takes seconds to start."""


class KillTest:
    """A complete reference, and repetitions that are killed.

    Args:
        name: One of ``SCENARIOS``.
        scenario: What is killed.
        folder: An empty folder.
        random: Where moments come from.
    """

    def __init__(self, name: str, scenario: Scenario, folder: Path, random: random.Random) -> None:
        self.name, self.scenario, self.folder, self.random = name, scenario, folder, random
        self.kills: Counter[str] = Counter()
        self.failures: list[str] = []
        self.repetitions = 0
        reference = folder / "reference"
        self._measure(reference)  # fills the caches and finds late imports
        shutil.rmtree(reference)
        self.seconds, self.operations = self._measure(reference)
        self.expected = scenario.outcome(reference)

    def _measure(self, folder: Path) -> tuple[float, int]:
        """The seconds and file operations of a whole command. Imports every module that it imported."""
        report_path = self.folder / "measured.json"
        folder.mkdir()
        self.scenario.prepare(folder)

        def work() -> None:
            operations = _die_before(folder, NEVER)
            self.scenario.work(folder)
            report_path.write_text(json.dumps({"operations": operations(), "modules": sorted(sys.modules)}))

        began = time.monotonic()
        _in_a_fork(work)
        seconds, report = time.monotonic() - began, json.loads(report_path.read_text())
        for module in report["modules"]:
            with suppress(Exception):  # some exist only after another module created them
                import_module(module)
        gc.freeze()  # keeps memory shared with the forks
        return seconds, report["operations"]

    def run(self, kills: int) -> None:
        """Repeat until this many processes were killed."""
        while self.kills.total() < kills:
            self.repetitions += 1
            folder = self.folder / f"{self.repetitions}"
            folder.mkdir()
            self.scenario.prepare(folder)
            for _ in range(MAX_REPEATS):
                finish = self.kills.total() >= kills or self.random.random() < 0.15
                if self._command(folder, None if finish else self._random_kill()):
                    break
            self._compare(folder)
            shutil.rmtree(folder, ignore_errors=True)  # children of a killed worker may still write there

    def _random_kill(self) -> tuple[str, float]:
        if self.random.random() < 0.5:
            return "by_clock", self.random.uniform(0, self.seconds)
        return "by_file_operation", self.random.randrange(self.operations)

    def _command(self, folder: Path, kill: tuple[str, float] | None = None) -> bool:
        """Start or repeat the command in a child process; whether it finished."""
        how, when = kill or ("", 0)

        def work() -> None:
            _die_before(folder, int(when) if how == "by_file_operation" else NEVER)
            self.scenario.work(folder)

        process = _fork(work)
        if how == "by_clock":
            time.sleep(when)
            for victim in self.scenario.victims(process, self.random):
                with suppress(ProcessLookupError):
                    os.kill(victim, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        if os.WIFSIGNALED(status) and how:
            self.kills[how] += 1
            return False
        if status != 0:
            self.failures.append(f"{self.name} {self.repetitions}: a process ended with status {status}")
        return True

    def _compare(self, folder: Path) -> None:
        try:
            found = self.scenario.outcome(folder)
        except Exception as error:
            self.failures.append(f"{self.name} {self.repetitions}: {type(error).__name__}: {error}")
            return
        self.failures += [
            f"{self.name} {self.repetitions}: {what}: {found.get(what)} instead of {self.expected.get(what)}"
            for what in sorted(self.expected.keys() | found.keys())
            if found.get(what) != self.expected.get(what)
        ]


def _facts(run: ScoredRun) -> dict[str, Any]:
    """What a recorded run holds, without times."""
    names = ("recipe", "dataset", "seed", "digest", "status", "error", "images", "parameters", "precision", "samples")
    scores = sorted(([score[key] for key in SCORE] for score in run.curve), key=json.dumps)
    return {**{name: getattr(run.record, name) for name in names}, "scores": scores}


def _files(folder: Path) -> dict[str, str]:
    """Every file with the hash of its content, but temporary ones, which stay for a day; of locks, that they exist."""
    return {
        str(path.relative_to(folder)): "" if path.suffix == ".lock" else _hash(path.read_bytes())
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.endswith(".tmp") for part in path.relative_to(folder).parts)
    }


def _damaged_lines(folder: Path) -> list[str]:
    """Lines of JSON-lines files that are no JSON, or were cut short."""
    found = []
    for path in sorted(folder.rglob("*.jsonl")):
        for number, line in enumerate(path.read_bytes().split(b"\n")[:-1], 1):
            try:
                json.loads(line)
            except ValueError:
                found.append(f"{path.relative_to(folder)}:{number}")
        if not path.read_bytes().endswith(b"\n"):
            found.append(f"{path.relative_to(folder)}: its last line")
    return found


def _hash(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def _children(process: int) -> list[int]:
    """The processes that a process has started and that still run; none where the system does not tell."""
    with suppress(OSError):
        return [int(word) for word in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    return []


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


def _in_a_fork(work: Callable[[], object]) -> None:
    _, status = os.waitpid(_fork(lambda: (work(), None)[1]), 0)
    assert status == 0, status


def _die_before(folder: Path, operation: int) -> Callable[[], int]:
    """Kill this process before its n-th file operation in the folder. Returns a counter of operations."""
    inside, done = str(folder), 0

    def watch(event: str, details: tuple[Any, ...]) -> None:
        nonlocal done
        if event in FILE_EVENTS and str(details[0]).startswith(inside):
            if done == operation:
                os.kill(os.getpid(), signal.SIGKILL)
            done += 1

    sys.addaudithook(watch)
    return lambda: done


def main() -> int:
    """Run the test and print its result."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=SCENARIOS, action="append", help="Only this; may be repeated.")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    zoo, chosen, results, failures = load_zoo(), arguments.only or list(SCENARIOS), {}, []
    shares = sum(SCENARIOS[name][1] for name in chosen)
    for name in chosen:
        kind, share = SCENARIOS[name]
        with tempfile.TemporaryDirectory(prefix="ganzoo-kills-", ignore_cleanup_errors=True) as folder:
            shared, place = Path(folder, "shared"), Path(folder, "repetitions")
            shared.mkdir()
            place.mkdir()
            test = KillTest(name, kind(zoo, shared), place, random.Random(f"{arguments.seed} {name}"))
            test.run(max(1, round(arguments.kills * share / shares)))
        results[name] = {"kills": test.kills.total(), **dict(test.kills), "repetitions": test.repetitions}
        failures += test.failures
        print(f"{name}: {results[name]}, {len(test.failures)} failures", file=sys.stderr)
    kills = sum(result["kills"] for result in results.values())
    print(json.dumps({"seed": arguments.seed, "kills": kills, "of": results, "failures": failures}, indent=1))
    return 0 if not failures else 1


if __name__ == "__main__":
    sys.exit(main())
