"""Crash-safe files, refusal of links, checked JSON, and child processes that do not import from the working folder."""

from __future__ import annotations

import errno
import glob
import hashlib
import json
import logging
import os
import re
import shlex
import shutil
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ganzoo.errors import GanzooError, one_line

logger = logging.getLogger(__name__)
MINUTE, DAY = 60, 86_400
"""Seconds."""
TEMPORARY = re.compile(r"\.[0-9]+(-[0-9a-f]{8}-[0-9a-f]{12})?\.tmp$")
"""How our temporary names end; the oldest ones contain only a process id."""


def refuse_links(path: Path, within: Path) -> Path:
    """Check that a path can be written without leaving a folder: a stranger's clone may contain links to your files.

    Args:
        path: The path to be written; it need not exist.
        within: The folder that the user named, which may itself be a link or be reached through one.

    Returns:
        The path.

    Raises:
        GanzooError: The path, or a folder between ``within`` and it, is a link.
    """
    step = within
    for part in path.relative_to(within).parts:
        step = step / part
        if step.is_symlink():
            raise GanzooError(
                f"{step} is a link, and ganzoo does not write through links.",
                "Replace it with its target, or name the target on the command line.",
            )
    return path


def as_argument(path: Path) -> str:
    """A path as it can be pasted into a command: quoted for the shell, and never taken for an option."""
    return shlex.quote(f"./{path}" if str(path).startswith("-") else str(path))


def without_folders(value: Any) -> Any:
    """A value, at any nesting level, with only the last name of each absolute path: for what is meant to be shared."""
    if isinstance(value, Mapping):
        return {key: without_folders(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_folders(one) for one in value]
    return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value  # noqa: PTH117 - it is text


def default_folder(*parts: str) -> Path:
    """A default folder below the working folder, such as ``runs``.

    Raises:
        GanzooError: It is a link, or is reached through one.
    """
    return refuse_links(Path(*parts), Path())


def refuse_links_out(folder: Path, within: Path | None = None) -> None:
    """Check that no link in a folder leads out of it, or out of ``within``, so that reading it reads nothing else.

    Raises:
        GanzooError: A link leads outside.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            refuse_link_out(Path(place, name), within or folder)


def refuse_link_out(entry: Path, folder: Path) -> None:
    """Check that a folder's entry is not a link that leads outside the folder.

    Raises:
        GanzooError: It is.
    """
    if not entry.is_symlink():
        return
    try:
        target = entry.resolve()
    except (OSError, RuntimeError):  # a link that leads to itself, which older versions of Python refuse
        target = Path(entry.anchor)
    if not target.is_relative_to(folder.resolve()):
        raise GanzooError(
            f"{entry} is a link to something outside {folder}, which a stranger may have put there.",
            "Replace it with its target. The folder itself may be anywhere.",
        )


def similar(path: Path, suits: Callable[[Path], bool]) -> str:
    """A hint for a path that does not exist: ``"Did you mean runs/dcgan-mnist?"``, or ``""`` if none is close.

    Args:
        path: The path as typed.
        suits: Whether an entry of its folder may be suggested.
    """
    try:
        names = sorted((entry.name for entry in path.parent.iterdir() if suits(entry)), key=len)
    except (OSError, ValueError):  # there is no such folder, or it cannot be read
        return ""
    longer = [name for name in names if name.startswith(f"{path.name}-")]
    close = longer or get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else ""


MADE = "made by ganzoo"
"""In the metadata of files that a command may overwrite because ganzoo made them."""


def begins_like(path: Path, *marks: str) -> bool:
    """Whether a file is one of ours: not a link, and with these texts near its start (``MADE`` may be at its end)."""
    try:
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as file:
            ends = file.read(4000)
            file.seek(max(0, path.stat().st_size - 200))
            ends += file.read() if MADE in marks else b""
    except OSError:
        return False
    return all(mark.encode() in ends for mark in marks)


def refuse_to_overwrite(path: Path, *, ours: bool, command: str, remedy: str) -> None:
    """Refuse to overwrite a file or folder that the command did not make.

    Args:
        path: Where the command is about to write; it need not exist.
        ours: Whether the command made the existing file or folder.
        command: The command, without ``ganzoo``.
        remedy: What to do about it.

    Raises:
        GanzooError: The path exists, and the command did not make it.
    """
    if os.path.lexists(path) and not ours:
        raise GanzooError(f"{path} was not made by `ganzoo {command}`, so it is not overwritten.", remedy)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content, using a temporary file, fsync and rename: a crash leaves the old file or the new one.

    Temporary files that killed processes left behind while writing the same file are removed.

    Raises:
        OSError: The disk is full or the folder read-only; the old file is unchanged.
    """
    sweep(path.parent, path.name)
    for attempts_left in (2, 1, 0):
        temporary = temporary_name(path)
        try:
            with temporary.open("xb") as file:  # "x" never follows an existing link
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            break
        except OSError as error:
            # Removed by a process that took this one for dead: in containers, ids and host names may be the same.
            if not isinstance(error, FileNotFoundError) or not attempts_left:
                error.filename, error.filename2 = str(path), None  # not the temporary name, which nobody knows
                raise
        finally:
            with suppress(OSError):  # a read-only disk refuses this too, and would be blamed on the temporary name
                temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def temporary_name(path: Path) -> Path:
    """A new temporary name for ``path``: hidden, in the same folder, with the writer's process id and host.

    It is always unique: containers that share a folder have the same process ids, and possibly the same host name.
    """
    return path.with_name(f".{path.name}.{os.getpid()}-{host()}-{uuid.uuid4().hex[:12]}.tmp")


def host() -> str:
    """Distinguishes this machine from others without giving its name: run folders are shared."""
    return hashlib.sha256(socket.gethostname().encode()).hexdigest()[:8]


def sweep(folder: Path, name: str = "*", *, sole_writer: bool = False) -> None:
    """Remove temporary files that killed processes left behind.

    Args:
        folder: The folder to clean.
        name: Remove only temporary files for this name; default: all.
        sole_writer: No other process writes here, so remove temporary files even if a process with the writer's id is
            alive. Ids are reused, in containers almost always.
    """
    for temporary in folder.glob(f".{'*' if name == '*' else glob.escape(name)}.*.tmp"):
        if not TEMPORARY.search(temporary.name):
            continue  # not ours
        if sole_writer or not _may_be_alive(temporary):
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)


def _may_be_alive(temporary: Path) -> bool:
    """Whether the process that writes a temporary file may still be running."""
    writer, _, place = temporary.name.split(".")[-2].partition("-")
    if place and place.partition("-")[0] != host():
        # Process ids of other machines or containers mean nothing here, but no write takes a day.
        return _age(temporary) < DAY
    if os.name == "nt":
        return True  # on Windows, os.kill(pid, 0) would kill the process
    try:
        os.kill(int(writer), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    # A process with this id is alive: this one, a writer in a container with the same host name, or an unrelated one.
    return int(writer) != os.getpid() or _age(temporary) < MINUTE


def _age(file: Path) -> float:
    """Seconds since it was written; 0 if unknown."""
    with suppress(OSError):
        return time.time() - file.stat().st_mtime
    return 0.0


def append_lines(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> tuple[int, int]:
    """Append JSON lines, all of them or none, after removing a last line that a crash cut short.

    Only for files that no other process writes; see ``locked_append``.

    Args:
        path: Created if missing.
        records: One line each.
        durable: Return only once the lines are on the disk.

    Returns:
        The file's size in bytes before and after.

    Raises:
        GanzooError: The file is a link, so its target is not ours.
        OSError: The disk is full or the file cannot be written; none of the lines were added.
    """
    refuse_links(path, path.parent)
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    content = lines.encode()
    left = memoryview(content)
    # Unbuffered: closing a buffered file would retry the write that a full disk has just refused.
    with path.open("a+b", buffering=0) as file:
        descriptor = file.fileno()
        _end_last_line(descriptor)
        before = os.fstat(descriptor).st_size
        try:
            while left:
                left = left[os.write(descriptor, left) :]
            if durable and path.is_file():  # devices and pipes cannot be synced
                os.fsync(descriptor)
        except BaseException:
            with suppress(OSError):
                os.ftruncate(descriptor, before)
            raise
    return before, before + len(content)


def locked_append(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> tuple[int, int]:
    """Append JSON lines to a file that other processes append to as well; a lock prevents losing lines.

    Args:
        path: The file; its lock is the hidden ``.NAME.lock`` next to it.
        records: Written all or none, in one piece.
        durable: Wait until they are on the disk.

    Returns:
        The file's size in bytes before and after.

    Raises:
        GanzooError: The file or its lock is a link, so its target is not ours.
        OSError: The disk is full or the folder cannot be written; none of the lines were added.
    """
    with FileLock(refuse_links(path.with_name(f".{path.name}.lock"), path.parent)):
        return append_lines(path, records, durable=durable)


def read_lines(path: Path, is_complete: Callable[[dict[str, Any]], bool] = lambda record: True) -> list[dict[str, Any]]:
    """The records of a JSON-lines file, without damaged ones; see ``numbered_lines``."""
    return [record for _, record in numbered_lines(path, is_complete)]


def numbered_lines(
    path: Path, is_complete: Callable[[dict[str, Any]], bool] = lambda record: True
) -> list[tuple[int, dict[str, Any]]]:
    """The records of a JSON-lines file, each with the number of its line; a missing file is empty.

    Damaged lines stay in the file, and are skipped with a warning that gives their numbers. If the last line is not a
    record and has no newline, it is skipped silently: it is still being written, or a crash cut it short.

    Args:
        path: The file.
        is_complete: Whether a record is complete; the line of an incomplete record counts as damaged.
    """
    if not path.exists():
        return []
    *lines, last = path.read_bytes().split(b"\n")
    records = [(number, _record(line)) for number, line in enumerate(lines, 1)]
    if (record := _record(last)) is not None:  # an editor may have left out the newline
        records.append((len(lines) + 1, record))
    whole = [(number, record) for number, record in records if record is not None and is_complete(record)]
    if len(whole) < len(records):
        kept = {number for number, _ in whole}
        _warn_damaged(path, tuple(number for number, _ in records if number not in kept))
    return whole


@cache  # a file is read many times; one warning is enough
def _warn_damaged(path: Path, numbers: tuple[int, ...]) -> None:
    named = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    lines, are, stay = ("Line", "is", "stays") if len(numbers) == 1 else ("Lines", "are", "stay")
    logger.warning("%s", one_line(f"{lines} {named} of {path} {are} damaged: skipped, but {stay} in the file."))


def parse_json(content: bytes) -> Any:
    """Parse JSON; refuse integers beyond 64 bits, and text that cannot be encoded again.

    Raises:
        ValueError: It is not JSON, is nested too deeply, or contains such integers or text.
    """
    try:
        value = json.loads(content, parse_int=_int64)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in content.lower():  # half of a surrogate pair cannot be encoded
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _int64(digits: str) -> int:
    if len(digits) > 20 or not -(2**63) <= int(digits) < 2**63:
        raise ValueError(f"the number {digits[:20]} is too large")
    return int(digits)


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        record = parse_json(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


def _end_last_line(descriptor: int) -> None:
    """Remove a record that a crash cut short; give any other last line the newline that it lacks.

    A truncated JSON object is never valid JSON, and begins with ``{``; after the machine crashed, it may be all zeros.
    """
    start, line = os.fstat(descriptor).st_size, b""
    with os.fdopen(descriptor, "rb", closefd=False) as file:
        while start > 0:
            chunk_start = max(0, start - 65_536)
            file.seek(chunk_start)
            head, newline, tail = file.read(start - chunk_start).rpartition(b"\n")
            line, start = tail + line, chunk_start + len(head + newline)
            if newline:
                break
    if not line:
        return
    if _record(line) is None and line.lstrip(b"\0")[:1] in (b"{", b""):
        os.ftruncate(descriptor, start)
    else:
        os.write(descriptor, b"\n")


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network file systems cannot sync a folder; the file's content is already on the disk.
        if error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(descriptor)


def child_python(module: str, *arguments: str) -> list[str]:
    """The command that runs a module in a child process, like ``python -m``, but never imports from the working folder.

    ``python -m`` puts the working folder first on the path, where a file called ``yaml.py`` would shadow a library.

    Args:
        module: Dotted name of an installed module.
        arguments: The rest of ``sys.argv``.
    """
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module, *arguments]
    start = "import sys; del sys.path[0]; import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
    return [sys.executable, "-c", start, module, *arguments]
