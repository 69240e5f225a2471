"""The machine's peak performance, with which training is compared."""

from __future__ import annotations

from functools import cache
from time import perf_counter

import torch

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
SHAPES = ((128, 1024, 1024), (512, 1024, 1024), (1024, 1024, 1024), (2048, 2048, 2048))
"""Sizes (m, k, n) of matrix products as in training, and larger ones; a GPU needs the largest to be busy."""


@cache
def gemm_peak(device: torch.device, precision: str) -> float:
    """The highest rate of matrix products of several shapes, in floating-point operations per second.

    Args:
        device: The device that multiplies.
        precision: ``fp32`` or ``bf16``.
    """
    dtype, best = DTYPES[precision], 0.0
    # Enough products that launching them and waiting for the last one takes a negligible share of the time.
    work = 2e9 if device.type == "cpu" else 2e11
    for m, k, n in SHAPES:
        left = torch.randn(m, k, device=device).to(dtype)
        right = torch.randn(k, n, device=device).to(dtype)
        out = torch.empty(m, n, device=device, dtype=dtype)
        for repeats in (1, 1, *[max(1, int(work / (m * k * n)))] * 5):
            wait(device)
            started_at = perf_counter()
            for _ in range(repeats):
                torch.mm(left, right, out=out)
            wait(device)
            best = max(best, 2 * m * k * n * repeats / (perf_counter() - started_at))
    return best


def wait(device: torch.device) -> None:
    """Wait until the device has finished its work; a clock read earlier would measure only the launches."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)
