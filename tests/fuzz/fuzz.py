"""Fuzz everything in ganzoo that reads untrusted data, from a seed.

    python tests/fuzz/fuzz.py --inputs 20000 --seed 0
    python tests/fuzz/fuzz.py --seed 0 --target recipe --index 137

Each input must be accepted, or rejected by a GanzooError with one line per mistake. Anything else is a finding: another
exception, a hang, a file outside the input's folder, unbounded memory. A finding is printed with the command that
repeats it, like the second one above, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import logging
import os
import resource
import shutil
import signal
import stat
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

    from targets import Target

MAX_LINES = 6
"""Lines of an error message: five mistakes, and the number of the rest."""

MAX_FOR_BOTH = 500
"""A target gets more inputs, but at most so many, until it has accepted one and rejected one."""


CPU_SECONDS, WALL_SECONDS = 5.0, 60.0
MEMORY = 3 * 2**30
"""Bytes of address space that inputs may add."""
GROWTH = 1 * 2**30
"""Bytes by which peak memory may grow over all inputs."""
OUTSIDE = Path("/tmp/ganzoo-fuzz-escaped")


class Hang(BaseException):
    """An input took too long. Not an Exception, so that nothing catches it."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise ``Hang`` in the block after too much CPU time or wall time."""
    for name in (signal.SIGPROF, signal.SIGALRM):
        signal.signal(name, _too_long)
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_long(number: int, frame: Any) -> None:
    busy = number == signal.SIGPROF
    raise Hang(
        f"{CPU_SECONDS:g} s of processor time" if busy else f"{WALL_SECONDS:g} s passed, with less of processor time"
    )


def limit_memory() -> None:
    """Make allocations beyond ``MEMORY`` fail with a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def peak_memory() -> int:
    """The peak memory of the process in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def snapshot(root: Path, input_folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything under ``root`` except ``input_folder``, and of the path outside that inputs name."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [root, OUTSIDE]
    while waiting:
        path = waiting.pop()
        try:
            status = path.lstat()
        except OSError:
            continue
        folder = stat.S_ISDIR(status.st_mode)
        if path != input_folder:
            found[str(path)] = (0, 0) if folder else (status.st_size, status.st_mtime_ns)
            waiting += path.iterdir() if folder else ()
    return found


class Finding(NamedTuple):
    """An input that was neither accepted nor properly rejected."""

    target: str
    index: int
    what: str  # happened, in one line
    where: str = ""  # the end of the traceback


class Fuzzer:
    """Runs inputs, each in an empty folder.

    Args:
        targets: By name.
        seed: The seed of all inputs.
        folder: Contains the input's folder; nothing else in it may change.
    """

    def __init__(self, targets: dict[str, Target], seed: int, folder: Path) -> None:
        self.targets = targets
        self.seed = seed
        self.folder = folder
        self.input_folder = folder / "a" / "b" / "c" / "own"
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in targets}
        self.findings: list[Finding] = []

    def run(self, target: str, index: int) -> None:
        """Run one input."""
        faulthandler.dump_traceback_later(4 * WALL_SECONDS, exit=True)  # for hangs that block signals
        shutil.rmtree(self.input_folder, ignore_errors=True)
        self.input_folder.mkdir(parents=True)
        os.chdir(self.input_folder)
        before = snapshot(self.folder, self.input_folder)
        outcome, found = self._outcome(target, index)
        if found is None and snapshot(self.folder, self.input_folder) != before:
            found = Finding(target, index, "something outside the input's folder changed")
        self.counts[target]["finding" if found else outcome] += 1
        if found:
            self.report(found)

    def report(self, found: Finding) -> None:
        """Record a finding, and print it with the command that repeats it."""
        self.findings.append(found)
        again = f"python tests/fuzz/fuzz.py --seed {self.seed} --target {found.target} --index {found.index}"
        print(f"\n{found.what}\n{found.where}  {again}", file=sys.stderr, flush=True)

    def _outcome(self, target: str, index: int) -> tuple[str, Finding | None]:
        from ganzoo.errors import GanzooError

        try:
            with time_limit():
                self.targets[target].function(Random(f"{self.seed}/{target}/{index}"), self.input_folder)
        except GanzooError as error:
            return "rejected", self._check_message(target, index, str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            where = "".join(traceback.format_exception(error)[-4:])
            return "", Finding(target, index, f"{type(error).__name__}: {str(error)[:200]!r}", where)
        return "accepted", None

    def _check_message(self, target: str, index: int, message: str) -> Finding | None:
        lines = message.split("\n")
        if not message.strip() or len(lines) > MAX_LINES or not all(line.isprintable() for line in lines):
            return Finding(target, index, f"an unreadable error message: {message[:300]!r}")
        return None


def shares(targets: dict[str, Target], inputs: int) -> list[str]:
    """The target of each input, in proportion to the targets' shares: cheap targets get more inputs."""
    cycle = [name for name, target in targets.items() for _ in range(target.share)]
    return [cycle[number % len(cycle)] for number in range(inputs)]


def main() -> int:
    """Run the command."""
    arguments = _arguments()
    warnings.simplefilter("ignore")  # libraries warn about odd headers
    logging.disable(logging.WARNING)  # and we of each damaged line
    folder = Path(tempfile.mkdtemp(prefix="ganzoo-fuzz-")).resolve()
    os.environ["GANZOO_CACHE"] = str(folder / "cache")
    try:
        return _report(_fuzz(arguments, folder), arguments)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


def _fuzz(arguments: argparse.Namespace, folder: Path) -> Fuzzer:
    from targets import all_targets

    targets = all_targets(folder / "models")
    fuzzer = Fuzzer(targets, arguments.seed, folder)
    limit_memory()
    before = peak_memory()
    if arguments.index is not None:
        fuzzer.run(arguments.target, arguments.index)
    else:
        seen = Counter(shares(targets, arguments.inputs))
        if arguments.target is not None:
            seen = Counter({arguments.target: seen[arguments.target]})
        for target, inputs in seen.items():
            for index in range(inputs):
                fuzzer.run(target, index)
            # Damage that is never noticed tests nothing, and neither does damage that always fails the first check.
            while inputs < MAX_FOR_BOTH and not {"accepted", "rejected"} <= fuzzer.counts[target].keys():
                fuzzer.run(target, inputs)
                inputs += 1
    faulthandler.cancel_dump_traceback_later()
    if peak_memory() - before > GROWTH:
        grown = (peak_memory() - before) / 2**20
        fuzzer.report(Finding("all", 0, f"memory grew by {grown:,.0f} MiB"))
    return fuzzer


def _report(fuzzer: Fuzzer, arguments: argparse.Namespace) -> int:
    if arguments.json:
        found = [finding._asdict() for finding in fuzzer.findings]
        print(json.dumps({"seed": fuzzer.seed, "targets": fuzzer.counts, "findings": found}))
    else:
        for name, counts in fuzzer.counts.items():
            row = [f"{counts[outcome]:6,} {outcome}" for outcome in ("accepted", "rejected", "finding")]
            print(f"{name:14} {' '.join(row)}")
    return 1 if fuzzer.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", help="Run only this target.")
    parser.add_argument("--index", type=int, help="Run only this input of the target.")
    parser.add_argument("--json", action="store_true", help="Print counts and findings as JSON.")
    arguments = parser.parse_args()
    if arguments.index is not None and arguments.target is None:
        parser.error("--index needs --target.")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
