"""What one input may do at most: end within seconds, and write nowhere but in its own folder."""

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
"""Bytes of address space that inputs may take beyond what the process had before the first one."""
GROWTH = 1 * 2**30
"""Bytes by which the most memory ever used may grow over all inputs."""
OUTSIDE = Path("/tmp/ganzoo-fuzz-escaped")


class Hang(BaseException):
    """An input took too long; passes through whatever catches exceptions."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Raise ``Hang`` in the block after seconds of computing, or of waiting."""
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
    raise Hang("It took too long.")


def limit_memory() -> None:
    """Make whoever asks for more than ``MEMORY`` get a MemoryError."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if sys.platform == "linux" else 0
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, resource.getrlimit(resource.RLIMIT_AS)[1]))


def most_memory() -> int:
    """The most bytes the process has ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def snapshot(root: Path, own: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything below ``root``, and of the place that inputs name, but not inside ``own``."""
    found: dict[str, tuple[int, int]] = {}
    waiting = [root, OUTSIDE]
    while waiting:
        path = waiting.pop()
        try:
            status = path.lstat()
        except OSError:
            continue
        folder = stat.S_ISDIR(status.st_mode)
        if path != own:
            found[str(path)] = (0, 0) if folder else (status.st_size, status.st_mtime_ns)
            waiting += path.iterdir() if folder else ()
    return found
