"""The results folder: the records of all finished runs, and their pictures."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock

from ganzoo.bench.record import Key, RunRecord, read_records
from ganzoo.errors import GanzooError
from ganzoo.runs.files import append_lines, write_atomically

RECORDS = "runs.jsonl"


class Ledger:
    """``runs.jsonl`` and ``samples/`` in a folder. Several processes may write; a line is written whole or not at all.

    Args:
        folder: Made where it is missing.

    Raises:
        GanzooError: The folder cannot be made, or its records cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / RECORDS
        try:
            (folder / "samples").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise GanzooError(f"{folder} cannot be made ({error.strerror}).", "Give another --results.") from error
        self._known = {record.key: record for record in read_records(self.path)}

    def find(self, key: Key) -> RunRecord | None:
        """The last record of a key."""
        return self._known.get(key)

    def append(self, record: RunRecord, picture: Path | None = None) -> None:
        """Write a record, and its picture before it."""
        if picture is not None and record.samples is not None:
            write_atomically(self.folder / record.samples, picture.read_bytes())  # and never through a link
        with FileLock(self.folder / f".{RECORDS}.lock"):
            append_lines(self.path, [record.plain()], durable=True)
        self._known[record.key] = record
