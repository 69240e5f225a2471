"""Devices, number formats and memory."""

from __future__ import annotations

import ctypes
import platform
from functools import cache
from time import perf_counter

import torch

from ganzoo.errors import GanzooError

WORTH_IT = 0.7
"""Share of a float32 product's time that a bfloat16 one may take: autocast's own conversions cost some of the gain."""


def resolve_device(name: str) -> torch.device:
    """``auto`` is CUDA where there is one, else the CPU.

    Raises:
        GanzooError: The name is no device, or the device is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise GanzooError(
            f"The device '{name}' cannot be used: {reason}.",
            "Use --device cpu, or cuda where torch sees a GPU.",
        ) from error
    return device


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 where the hardware multiplies it faster than fp32, else fp32."""
    if name != "auto":
        return name
    return "bf16" if _fast_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context that phases compute their losses in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.backends.cpu.get_cpu_capability()
        return "AVX512" in capabilities and bool(torch.cpu._is_avx512_bf16_supported()) and _faster_on_this_cpu()
    return False


@cache
def _faster_on_this_cpu() -> bool:
    """Measured, in about 10 ms, because instructions do not tell: with AMX bf16 is many times as fast, without it half
    as fast on some processors and twice as fast on others.
    """
    operands = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(operands, float("inf"))
    for _ in range(6):
        # By turns, so that a machine that is busy for a moment slows both down.
        for dtype, square in operands.items():
            began = perf_counter()
            torch.mm(square[:256], square)
            best[dtype] = min(best[dtype], perf_counter() - began)
    return best[torch.bfloat16] < WORTH_IT * best[torch.float32]


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
