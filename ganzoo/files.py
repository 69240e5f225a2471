"""Writing files so that a crash leaves either the old one or the new one."""

from __future__ import annotations

import errno
import glob
import json
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content: temporary file, fsync, rename.

    Raises:
        OSError: The disk is full or the folder read-only; the old file is untouched.
    """
    temporary = temporary_name(path)
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:  # never through a link that lies there
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """Where this process prepares what will be ``path``: hidden, beside it, with the writer's process id."""
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def sweep(folder: Path, name: str = "*", *, sole_writer: bool = False) -> None:
    """Remove temporaries that a killed process left.

    Args:
        folder: Where they lie.
        name: Of what they were to become; every name by default.
        sole_writer: Nobody else may write here now, so that even those of a living process go: its id may have been
            given to another since, which in a container is the rule.
    """
    pattern = "*" if name == "*" else glob.escape(name)
    for temporary in folder.glob(f".{pattern}.*.tmp"):
        if sole_writer or not _may_live(temporary.name.split(".")[-2]):
            _remove(temporary)


def _may_live(writer: str) -> bool:
    if not writer.isascii() or not writer.isdigit() or os.name == "nt":
        return True  # not of our making; and there, asking after a process would end it
    try:
        os.kill(int(writer), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return int(writer) != os.getpid()


def _remove(temporary: Path) -> None:
    if temporary.is_dir():
        shutil.rmtree(temporary, ignore_errors=True)
    else:
        temporary.unlink(missing_ok=True)


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Append JSON lines in one write; ``durable`` waits until they are on the disk.

    A line that a crash cut short is removed first, so that no record is ever glued to it.
    """
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    with path.open("a+b") as file:
        _drop_torn_line(file.fileno())
        file.write(lines.encode())
        file.flush()
        if durable:
            os.fsync(file.fileno())


def locked_append(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Append JSON lines to a file that other processes append to as well: they take turns, and no line is lost.

    Args:
        path: The file; its lock is the hidden ``.NAME.lock`` beside it.
        records: Written in one piece.
        durable: Wait until they are on the disk.

    Raises:
        OSError: The folder cannot be written, or the file or its lock is a link: what it leads to is not ours.
    """
    lock = path.with_name(f".{path.name}.lock")
    for file in (path, lock):
        if file.is_symlink():
            raise OSError(errno.ELOOP, f"{file} is a link", str(file))
    with FileLock(lock):
        append_lines(path, records, durable=durable)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file, without its damaged lines; a missing file is empty."""
    return examine_lines(path)[0]


def examine_lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The records of a JSON-lines file, and how many of its lines are damaged.

    A last line that does not end is left out, since the next ``append_lines`` removes it; it is no damage but what a
    crash cut short.
    """
    if not path.exists():
        return [], 0
    *lines, _torn = path.read_bytes().split(b"\n")
    records = [_record(line) for line in lines]
    whole = [record for record in records if record is not None]
    return whole, len(records) - len(whole)


def parse_json(content: bytes) -> Any:
    """JSON whose whole numbers fit into 64 bits, and whose text can be written again.

    Raises:
        ValueError: It is no such JSON, or no JSON at all.
    """
    try:
        value = json.loads(content, parse_int=_whole_number)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in content.lower():  # half of a pair of escapes is text that no encoding can write
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _whole_number(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"{digits[:20]} is too large a number")
    return int(digits)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _drop_torn_line(descriptor: int) -> None:
    size = os.fstat(descriptor).st_size
    if size == 0 or os.pread(descriptor, 1, size - 1) == b"\n":
        return
    start = size
    while start > 0:
        chunk_start = max(0, start - 65_536)
        newline = os.pread(descriptor, start - chunk_start, chunk_start).rfind(b"\n")
        if newline >= 0:
            os.ftruncate(descriptor, chunk_start + newline + 1)
            return
        start = chunk_start
    os.ftruncate(descriptor, 0)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
