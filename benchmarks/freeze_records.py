"""Gives records the digests that their frozen recipes have today: ``python benchmarks/freeze_records.py results ...``.

A digest covers every key and option, so a new option changes it, and studies would no longer find their runs. Each
folder's recipes, pictures, runs and scores get the new digests. Where a run's command no longer gives its digest,
because the recipe that it names has changed, the command names the frozen recipe instead. Of a run's scores, the last
ones are kept; all of them if it trained until a score, since studies then ask when.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from ganzoo.errors import GanzooError
from ganzoo.files import numbered_lines, write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo_studies.matrix import job_of
from ganzoo_studies.records import RUNS, SCORES, RunRecord, ScoreRow, shared


def freeze(folder: Path, zoo: Zoo) -> int:
    """Rewrite the records of a results folder; returns the number of digests that changed."""
    records = [RunRecord.model_validate(line) for _, line in numbered_lines(folder / RUNS)]
    scores = [ScoreRow.model_validate(line) for _, line in numbered_lines(folder / SCORES)]
    jobs = {record.digest: job_of(str(folder / record.frozen), zoo, []) for record in records}
    renewed = [_renewed(record, jobs[record.digest].digest, zoo) for record in records]
    for old, new in zip(records, renewed, strict=True):
        if (folder / old.frozen).exists():  # the first of its seeds
            (folder / old.frozen).unlink()
            write_atomically(folder / new.frozen, shared(jobs[old.digest].recipe).encode())
        if old.samples and new.samples and (folder / old.samples).exists():
            (folder / old.samples).rename(folder / new.samples)
    known = {digest: job.digest for digest, job in jobs.items()}
    until = {digest for digest, job in jobs.items() if job.recipe.train.until is not None}
    last = {row.training: row.images for row in sorted(scores, key=lambda row: row.images)}
    kept = [row for row in scores if row.digest in until or row.images == last[row.training]]
    moved = [row.model_copy(update={"digest": known.get(row.digest, row.digest)}) for row in kept]
    _write(folder / RUNS, renewed)
    _write(folder / SCORES, moved)
    return sum(old != new for old, new in known.items())


def _renewed(record: RunRecord, digest: str, zoo: Zoo) -> RunRecord:
    samples = record.samples and record.samples.replace(record.digest[:8], digest[:8])
    new = record.model_copy(update={"digest": digest, "samples": samples})
    if _digest_and_seed(record.command, zoo) == (digest, record.seed):
        return new
    command = shlex.join(["ganzoo", "run", new.frozen, "--set", f"train.seed={record.seed}"])
    return new.model_copy(update={"command": command})


def _digest_and_seed(command: str, zoo: Zoo) -> tuple[str, int] | None:
    """Of the training that a command repeats; None if the command is refused."""
    _, _, source, *overrides = shlex.split(command)
    with suppress(GanzooError):
        job = job_of(source, zoo, overrides[1::2])
        return job.digest, job.seed
    return None


def _write(path: Path, records: Iterable[RunRecord | ScoreRow]) -> None:
    lines = (json.dumps(record.plain(), ensure_ascii=False) for record in records)
    write_atomically(path, "".join(f"{line}\n" for line in lines).encode())


def main() -> None:
    """The command line."""
    zoo = load_zoo()
    for folder in map(Path, sys.argv[1:]):
        print(f"{folder}: {freeze(folder, zoo)} digests changed")


if __name__ == "__main__":
    main()
