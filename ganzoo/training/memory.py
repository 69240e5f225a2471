"""What becomes of memory that a training step has given back."""

from __future__ import annotations

import ctypes
import platform

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Of glibc's <malloc.h>."""


def keep_freed_memory() -> bool:
    """Let this process keep what it frees, from now on, and use it again.

    glibc gives large blocks back to the system at once. A step takes and frees the same blocks as the one before, and
    would be given each anew, page by page and zeroed: a quarter of the time, where feature maps are large. What the
    process holds is then the most that it ever needed.

    Returns:
        Whether there is a glibc, and it did so.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
