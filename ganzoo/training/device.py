"""Devices, precision and memory."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from time import thread_time

import torch

from ganzoo.errors import GanzooError

DEVICES = ("cpu", "cuda", "mps", "xpu")
"""Types of devices that train. Torch knows more names, of which some hold no numbers and others need extensions."""

MAX_BF16_TIME = 0.7
"""bf16 pays off up to this share of the fp32 time of a product: autocast's conversions cost part of the gain."""


def resolve_device(name: str) -> torch.device:
    """The device of a name; ``auto`` is CUDA if available, else the CPU.

    Raises:
        GanzooError: The name is not a device, or the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in DEVICES:
        raise GanzooError(f"Unknown device '{name}'.", f"Known: auto, {', '.join(DEVICES)}, and cuda:1 for the second.")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each backend has its own
        reason = str(error).splitlines()[0].rstrip(".")
        raise GanzooError(
            f"Cannot use the device '{name}': {reason}.",
            "Use --device cpu, or cuda if torch finds a GPU.",
        ) from error
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 if the hardware multiplies it faster than fp32, else fp32."""
    if name != "auto":
        return name
    return "bf16" if _fast_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The autocast context for a phase's loss."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.backends.cpu.get_cpu_capability()
        if "AVX512" not in capabilities or not torch.cpu._is_avx512_bf16_supported():
            return False
        return bool(torch.cpu._is_amx_tile_supported()) or _faster_on_this_cpu()
    return False


@cache
def _faster_on_this_cpu() -> bool:
    """Measured, in about 30 ms, where there is no AMX: bf16 is then half as fast on some CPUs and twice as fast on
    others. One thread and its own CPU time, so that other programs do not change the answer.
    """
    operands = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(operands, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            # Alternating, so that a moment of a slower clock slows both down.
            for dtype, square in operands.items():
                start = thread_time()
                torch.mm(square[:256], square)
                best[dtype] = min(best[dtype], thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return best[torch.bfloat16] < MAX_BF16_TIME * best[torch.float32]


M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""From glibc's <malloc.h>."""


def keep_freed_memory() -> bool:
    """Make this process reuse freed memory instead of returning it to the system.

    glibc returns large blocks at once. Every training step allocates the same blocks again, and the system maps and
    zeroes each page again, which takes a quarter of the time with large feature maps. In exchange, the process
    keeps its peak memory.

    Returns:
        Whether it worked; only glibc can do this.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))
