"""Crash-safe files, refusal of links, checked JSON, and child processes that do not import from the working folder."""

from __future__ import annotations

import glob
import json
import logging
import mmap
import os
import re
import shlex
import shutil
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext, suppress
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock

from ganzoo.errors import GanzooError, one_line

logger = logging.getLogger(__name__)
DAY = 86_400  # seconds
TEMPORARY = re.compile(r"\.[0-9a-f]{12}\.tmp$")  # how our temporary names end


def refuse_links(path: Path, within: Path) -> Path:
    """The path, once it is clear that writing it leaves no folder: a stranger's clone may hold links to your files.

    ``within`` is the folder that the user named, which may itself be a link or be reached through one.
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
    """A default folder below the working folder, such as ``runs``, not reached through a link."""
    return refuse_links(Path(*parts), Path())


def similar(path: Path, suits: Callable[[Path], bool]) -> str:
    """A hint for a path that does not exist: ``"Did you mean runs/dcgan-mnist?"``, or ``""`` if none is close."""
    try:
        names = sorted((entry.name for entry in path.parent.iterdir() if suits(entry)), key=len)
    except (OSError, ValueError):  # there is no such folder, or it cannot be read
        return ""
    longer = [name for name in names if name.startswith(f"{path.name}-")]
    close = longer or get_close_matches(path.name, names, n=1)
    return f"Did you mean {path.parent / close[0]}?" if close else ""


MADE = "made by ganzoo"  # in the metadata of files that a command may overwrite because ganzoo made them


def begins_like(path: Path, *marks: str) -> bool:
    """Whether a file is one of ours: not a link, and with these texts near its start (``MADE`` may be at its end)."""
    with suppress(OSError):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as file:
                ends = file.read(4000)
                file.seek(max(0, path.stat().st_size - 200))
                ends += file.read() if MADE in marks else b""
            return all(mark.encode() in ends for mark in marks)
    return False


def refuse_to_overwrite(path: Path, *, ours: bool, command: str, remedy: str) -> None:
    """Refuse to overwrite a file or folder, unless it is ``ours``: made by the command, named without ``ganzoo``."""
    if os.path.lexists(path) and not ours:
        raise GanzooError(f"{path} was not made by `ganzoo {command}`, so it is not overwritten.", remedy)


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file's content with a temporary file, fsync and rename: a crash leaves the old file or the new one."""
    sweep(path.parent, path.name)
    temporary = temporary_name(path)
    try:
        with temporary.open("xb") as file:  # "x" never follows an existing link
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None  # not the temporary name, which nobody knows
        raise
    finally:
        with suppress(OSError):  # a read-only disk refuses this too, and would be blamed on the temporary name
            temporary.unlink(missing_ok=True)
    with suppress(OSError):  # Windows cannot open a folder, and some network file systems cannot sync one
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def temporary_name(path: Path) -> Path:
    """A new temporary name for ``path``: hidden, and in the same folder."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:12]}.tmp")


def sweep(folder: Path, name: str = "*", *, sole_writer: bool = False) -> None:
    """Remove what killed processes left behind: temporary files older than a day, or all for a ``sole_writer``."""
    for temporary in folder.glob(f".{'*' if name == '*' else glob.escape(name)}.*.tmp"):
        with suppress(OSError):  # gone in the meantime
            old = sole_writer or time.time() - temporary.lstat().st_mtime > DAY
            if old and TEMPORARY.search(temporary.name):
                if temporary.is_dir():
                    shutil.rmtree(temporary, ignore_errors=True)
                else:
                    temporary.unlink()


def locked_append(path: Path, records: Iterable[Mapping[str, Any]], *, durable: bool = False) -> None:
    """Append JSON lines, all of them or none, after removing a last line that a crash cut short.

    Other processes may append as well: a lock, the hidden ``.NAME.lock`` next to it, prevents losing lines. With
    ``durable``, the lines are on the disk on return.
    """
    lock = FileLock(refuse_links(path.with_name(f".{path.name}.lock"), path.parent))
    refuse_links(path, path.parent)
    content = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()
    left = memoryview(content)
    is_device = path.exists() and not path.is_file()  # or a pipe: no lock is left next to it, and it cannot be synced
    # Unbuffered: closing a buffered file would retry the write that a full disk has just refused.
    with nullcontext() if is_device else lock, path.open("a+b", buffering=0) as file:
        _end_last_line(file.fileno())
        before = os.fstat(file.fileno()).st_size
        try:
            while left:
                left = left[os.write(file.fileno(), left) :]
            if durable and not is_device:
                os.fsync(file.fileno())
        except BaseException:
            with suppress(OSError):
                os.ftruncate(file.fileno(), before)
            raise


def read_lines(path: Path, is_complete: Callable[[dict[str, Any]], bool] = lambda record: True) -> list[dict[str, Any]]:
    """The records of a JSON-lines file, without damaged ones; see ``numbered_lines``."""
    return [record for _, record in numbered_lines(path, is_complete)]


def numbered_lines(
    path: Path, is_complete: Callable[[dict[str, Any]], bool] = lambda record: True
) -> list[tuple[int, dict[str, Any]]]:
    """The records of a JSON-lines file, each with the number of its line; a missing file is empty.

    Damaged lines, which include records that are not complete, are skipped with a warning. A last line without a
    newline is skipped silently: it is still being written, or a crash cut it short.
    """
    if not path.exists():
        return []
    lines = path.read_bytes().split(b"\n")
    records = [(number, _record(line)) for number, line in enumerate(lines, 1) if line.strip()]
    whole = [(number, record) for number, record in records if record is not None and is_complete(record)]
    damaged = {number for number, _ in records if number < len(lines)} - {number for number, _ in whole}
    if damaged:
        _warn_damaged(path, tuple(sorted(damaged)))
    return whole


@cache  # a file is read many times; one warning is enough
def _warn_damaged(path: Path, numbers: tuple[int, ...]) -> None:
    named = ", ".join(map(str, numbers[:5])) + (f" and {len(numbers) - 5} more" if len(numbers) > 5 else "")
    lines, are, stay = ("Line", "is", "stays") if len(numbers) == 1 else ("Lines", "are", "stay")
    logger.warning("%s", one_line(f"{lines} {named} of {path} {are} damaged: skipped, but {stay} in the file."))


def parse_json(content: bytes) -> Any:
    """Parse JSON; a ``ValueError`` if it is not JSON, nested too deeply, or holds text that cannot be encoded again."""
    try:
        value = json.loads(content)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    if b"\\ud" in content.lower():  # half of a surrogate pair cannot be encoded
        json.dumps(value, ensure_ascii=False).encode()
    return value


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
    size = os.fstat(descriptor).st_size
    if size == 0:  # or a device
        return
    with mmap.mmap(descriptor, size, access=mmap.ACCESS_READ) as content:
        start = content.rfind(b"\n") + 1
        line = content[start:]
    if line and _record(line) is None and line.lstrip(b"\0")[:1] in (b"{", b""):
        os.ftruncate(descriptor, start)
    elif line:
        os.write(descriptor, b"\n")


def child_python(module: str, *arguments: str) -> list[str]:
    """Like ``python -m``, but never imports from the working folder, where a ``yaml.py`` would shadow a library."""
    if sys.version_info >= (3, 11):
        return [sys.executable, "-P", "-m", module, *arguments]
    start = "import sys; del sys.path[0]; import runpy; runpy.run_module(sys.argv.pop(1), None, '__main__', True)"
    return [sys.executable, "-c", start, module, *arguments]
