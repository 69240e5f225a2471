"""The machine's peak performance, which training is compared with."""

from __future__ import annotations

import sys
from functools import cache
from time import perf_counter

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPES = ((128, 1024, 1024), (512, 1024, 1024), (1024, 1024, 1024), (2048, 2048, 2048))
"""Sizes (m, k, n) of matrix products as in training, and larger ones; a GPU needs the largest to be busy."""


@cache
def gemm_peak(device: torch.device, precision: str) -> float:
    """The highest rate of matrix products of several shapes, in floating-point operations a second.

    Args:
        device: The device that multiplies.
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
    """Wait until the device has finished its work; a clock read earlier would measure only the launches."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_memory(device: torch.device) -> int | None:
    """Peak memory in use so far, in bytes, of the device or, on the CPU, of this process; None if it is unknown."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # not on Windows
        return None
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kilobytes elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
