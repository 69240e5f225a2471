"""Limits of one input: seconds, memory, and writing only to its folder."""

from __future__ import annotations

import resource
import signal
import stat
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

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
