"""Throws seeded bad input at every door through which ganzoo reads data.

    python tests/fuzz/fuzz.py --inputs 20000 --seed 0
    python tests/fuzz/fuzz.py --seed 0 --door recipe --index 137

Each input is accepted, or refused with a GanzooError of one line for each mistake. Everything else is a finding:
another exception, a hang, a file outside of the input's own folder, memory without bound. A finding is printed with
the second of these commands, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import guard

if TYPE_CHECKING:
    from doors import Door

MOST_LINES = 6
"""Of a refusal: five mistakes, and the number of the rest."""


@dataclass(frozen=True)
class Finding:
    """An input that was neither accepted nor refused with a sentence.

    Attributes:
        door: Which door.
        index: Of the input.
        what: What happened, in a line.
        where: The end of the traceback.
    """

    door: str
    index: int
    what: str
    where: str = ""


class Fuzzer:
    """Runs inputs, each in an empty folder of its own.

    Args:
        doors: By name.
        seed: Of all inputs.
        folder: Where the inputs' folder is made; nothing else in it may change.
    """

    def __init__(self, doors: dict[str, Door], seed: int, folder: Path) -> None:
        self.doors = doors
        self.seed = seed
        self.folder = folder
        self.own = folder / "a" / "b" / "c" / "own"
        self.counts: dict[str, Counter[str]] = {name: Counter() for name in doors}
        self.findings: list[Finding] = []

    def run(self, door: str, index: int) -> None:
        """One input."""
        shutil.rmtree(self.own, ignore_errors=True)
        self.own.mkdir(parents=True)
        os.chdir(self.own)
        before = guard.snapshot(self.folder, self.own)
        outcome, found = self._outcome(door, index)
        if found is None and guard.snapshot(self.folder, self.own) != before:
            found = Finding(door, index, "something outside of the input's folder changed")
        self.counts[door]["finding" if found else outcome] += 1
        if found:
            self.tell(found)

    def tell(self, found: Finding) -> None:
        """Keep a finding, and print it with the command that repeats it."""
        self.findings.append(found)
        again = f"python tests/fuzz/fuzz.py --seed {self.seed} --door {found.door} --index {found.index}"
        print(f"\n{found.what}\n{found.where}  {again}", file=sys.stderr, flush=True)

    def _outcome(self, door: str, index: int) -> tuple[str, Finding | None]:
        from ganzoo.errors import GanzooError

        try:
            with guard.time_limit():
                self.doors[door](Random(f"{self.seed}/{door}/{index}"), self.own)
        except GanzooError as error:
            return "refused", self._unreadable(door, index, str(error))
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            where = "".join(traceback.format_exception(error)[-4:])
            return "", Finding(door, index, f"{type(error).__name__}: {str(error)[:200]!r}", where)
        return "accepted", None

    def _unreadable(self, door: str, index: int, sentence: str) -> Finding | None:
        lines = sentence.split("\n")
        if not sentence.strip() or len(lines) > MOST_LINES or not all(line.isprintable() for line in lines):
            return Finding(door, index, f"a refusal that is no sentence: {sentence[:300]!r}")
        return None


def shares(doors: dict[str, Door], inputs: int) -> list[str]:
    """The door of each input: cheap doors get more of them, and every one gets some."""
    turns = [name for name, door in doors.items() for _ in range(door.share)]
    return [turns[number % len(turns)] for number in range(inputs)]


def main() -> int:
    """The command."""
    asked = _arguments()
    warnings.simplefilter("ignore")  # a warning is no refusal: libraries warn of odd headers
    folder = Path(tempfile.mkdtemp(prefix="ganzoo-fuzz-")).resolve()
    os.environ["GANZOO_CACHE"] = str(folder / "cache")
    try:
        return _report(_fuzz(asked, folder), asked)
    finally:
        os.chdir("/")
        shutil.rmtree(folder, ignore_errors=True)


def _fuzz(asked: argparse.Namespace, folder: Path) -> Fuzzer:
    from doors import open_doors

    doors = open_doors(folder / "models")
    fuzzer = Fuzzer(doors, asked.seed, folder)
    guard.limit_memory()
    before = guard.most_memory()
    plan = [asked.door] if asked.index is not None else shares(doors, asked.inputs)
    seen: Counter[str] = Counter()
    for door in plan:
        faulthandler.dump_traceback_later(4 * guard.WALL_SECONDS, exit=True)  # where not even a signal gets through
        index = seen[door] if asked.index is None else asked.index
        seen[door] += 1
        if asked.door in (None, door):
            fuzzer.run(door, index)
    faulthandler.cancel_dump_traceback_later()
    if guard.most_memory() - before > guard.GROWTH:
        grown = (guard.most_memory() - before) / 2**20
        fuzzer.tell(Finding("all", 0, f"memory grew by {grown:,.0f} MiB"))
    return fuzzer


def _report(fuzzer: Fuzzer, asked: argparse.Namespace) -> int:
    if asked.json:
        found = [vars(finding) for finding in fuzzer.findings]
        print(json.dumps({"seed": fuzzer.seed, "doors": fuzzer.counts, "findings": found}))
    else:
        for name, counts in fuzzer.counts.items():
            told = [f"{counts[outcome]:6,} {outcome}" for outcome in ("accepted", "refused", "finding")]
            print(f"{name:14} {' '.join(told)}")
    return 1 if fuzzer.findings else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--door", help="Only the inputs of this one.")
    parser.add_argument("--index", type=int, help="Only this input of that door.")
    parser.add_argument("--json", action="store_true", help="Counts and findings as JSON on standard output.")
    asked = parser.parse_args()
    if asked.index is not None and asked.door is None:
        parser.error("--index is of a --door.")
    return asked


if __name__ == "__main__":
    sys.exit(main())
