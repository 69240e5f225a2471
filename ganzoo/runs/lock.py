"""One trainer a run folder."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ganzoo.errors import GanzooError

LOCK = ".lock"


@contextmanager
def locked(folder: Path, process: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Hold a folder's lock until the block ends or the process dies.

    Args:
        folder: Where the lock lies.
        process: ``pid`` and ``host`` of its last known holder, for the sentence.

    Raises:
        GanzooError: Another process holds it, or the folder cannot be written.
    """
    lock = FileLock(folder / LOCK, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        who = f" (process {process['pid']} on {process['host']})" if process else ""
        raise GanzooError(
            f"Another process{who} trains in {folder}.",
            "Wait until it ends, or stop it; `ganzoo sample` and `ganzoo eval` work meanwhile.",
        ) from error
    except OSError as error:
        raise GanzooError(
            f"The run folder {folder} cannot be written ({error.strerror}).", "Use a folder that can be."
        ) from error
    try:
        yield
    finally:
        lock.release()
