"""What the machine can do at best: the yardstick that training is measured against."""

from __future__ import annotations

import sys
from functools import cache
from time import perf_counter

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPES = ((128, 1024, 1024), (512, 1024, 1024), (1024, 1024, 1024), (2048, 2048, 2048))
"""(m, k, n) of matrix products such as training makes, and larger ones; a GPU needs the largest to be busy."""


@cache
def gemm_peak(device: torch.device, precision: str) -> float:
    """The most floating-point operations a second that a matrix product reaches here, over several shapes.

    Args:
        device: Where.
        precision: ``fp32`` or ``bf16``.
    """
    return max(_rate(device, DTYPES[precision], shape) for shape in SHAPES)


def _rate(device: torch.device, dtype: torch.dtype, shape: tuple[int, int, int]) -> float:
    m, k, n = shape
    left = torch.randn(m, k, device=device).to(dtype)
    right = torch.randn(k, n, device=device).to(dtype)
    out = torch.empty(m, n, device=device, dtype=dtype)
    best = 0.0
    for repeats in (1, 1, *[max(1, int(2e9 / (m * k * n)))] * 5):
        wait(device)
        began = perf_counter()
        for _ in range(repeats):
            torch.mm(left, right, out=out)
        wait(device)
        best = max(best, 2 * m * k * n * repeats / (perf_counter() - began))
    return best


def wait(device: torch.device) -> None:
    """Until the device has done what it was asked; a clock read earlier measures only the asking."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int | None:
    """Bytes that the device, or on the CPU this process, had in use at the worst moment so far."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
