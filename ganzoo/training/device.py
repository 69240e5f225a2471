"""Devices, CPU cores and number formats. torch's settings for rounding are process-wide, so they are set per step."""

from __future__ import annotations

import ctypes
import os
import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from time import thread_time
from typing import Literal

import torch

from ganzoo.api.reading import control_groups
from ganzoo.config.schema import TrainConfig
from ganzoo.errors import GanzooError

VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # train.threads: auto obeys them; a resumed run keeps its number
MAX_BF16_TIME = 0.7  # share of its fp32 time at which bf16 pays off: autocast's conversions use up some of it
WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED_WORKSPACES = (":4096:8", ":16:8")  # cuBLAS then adds in a fixed order (NVIDIA on cublasSetWorkspace)
_NO_SUCH_KERNEL = re.compile(r"^(?P<operation>\S+).{0,100}? does not have a deterministic implementation")
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # from glibc's <malloc.h>


def available_cores(root: Path = Path("/")) -> int:
    """The number of cores that this process may use: those of its affinity, up to its control groups' quotas."""
    limits = [len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1]
    for group in control_groups(root):  # this process's own, and their parents
        for base, *names in (("", "cpu.max"), ("cpu", "cpu.cfs_quota_us", "cpu.cfs_period_us")):
            try:
                numbers = " ".join((root / "sys/fs/cgroup" / base / group / name).read_text() for name in names).split()
                quota, period = int(numbers[0]), int(numbers[1])
            except (OSError, IndexError, ValueError):
                continue  # no limit, or "max"
            if quota > 0 and period > 0:
                limits.append(-(-quota // period))  # whole cores, rounded up
    return max(1, min(limits))


def use_available_cores(wanted: int | Literal["auto"] = "auto") -> None:
    """Use the recipe's number of threads, or at most one per core: in a container, torch counts the machine's cores."""
    if wanted != "auto":
        torch.set_num_threads(wanted)
    elif not threads_set_by_user() and torch.get_num_threads() > available_cores():
        torch.set_num_threads(available_cores())


def threads_set_by_user() -> bool:
    """Whether the environment sets the number of threads."""
    return any(variable in os.environ for variable in VARIABLES)


def keep_freed_memory() -> bool:
    """Reuse freed memory instead of returning it to the system; returns whether that worked, as with glibc."""
    # Mapping and zeroing large feature maps again takes a quarter of each step; in exchange, memory stays at its peak.
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, -1))


def resolve_precision(name: str, device: torch.device) -> str:
    """``auto`` is bf16 if the hardware multiplies it faster than fp32, else fp32; TF32 needs a CUDA GPU."""
    if name == "tf32" and device.type != "cuda":
        raise GanzooError(
            f"train.precision=tf32 is a number format of CUDA GPUs, but this run trains on {device.type}.",
            "Use train.precision=auto, or fp32.",
        )
    if name != "auto":
        return name
    return "bf16" if _fast_bf16(device) else "fp32"


def _fast_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        with torch.cuda.device(device):  # the query is about the current device
            return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    has_avx512 = device.type == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability()
    if not has_avx512 or not torch.cpu._is_avx512_bf16_supported():
        return False
    return bool(torch.cpu._is_amx_tile_supported()) or _faster_on_this_cpu()


@cache
def _faster_on_this_cpu() -> bool:
    """Whether bf16 is faster: without AMX, it is half as fast on some CPUs and twice as fast on others."""
    # About 30 ms of one thread's CPU time, which other programs do not affect.
    operands = {dtype: torch.ones(512, 512, dtype=dtype) for dtype in (torch.float32, torch.bfloat16)}
    best = dict.fromkeys(operands, float("inf"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for _ in range(8):
            # Alternating, so that a moment with a slower clock affects both.
            for dtype, square in operands.items():
                start = thread_time()
                torch.mm(square[:256], square)
                best[dtype] = min(best[dtype], thread_time() - start)
    finally:
        torch.set_num_threads(threads)
    return best[torch.bfloat16] < MAX_BF16_TIME * best[torch.float32]


def fix_workspace() -> None:
    """Make cuBLAS add in a fixed order; it reads the setting once, when CUDA starts."""
    if not torch.cuda.is_available() or os.environ.get(WORKSPACE) in FIXED_WORKSPACES:
        return
    if WORKSPACE in os.environ or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        state = f"is {os.environ[WORKSPACE]}" if WORKSPACE in os.environ else "was not set before CUDA started"
        raise GanzooError(
            f"train.deterministic needs another cuBLAS workspace: {WORKSPACE} {state}.",
            f"Set {WORKSPACE}={FIXED_WORKSPACES[0]} before Python starts.",
        )
    os.environ[WORKSPACE] = FIXED_WORKSPACES[0]


@contextmanager
def numerics(config: TrainConfig, precision: str, device: torch.device) -> Iterator[None]:
    """A recipe's numerical settings, for one step; refuses operations that ``train.deterministic`` rules out."""
    products = torch.get_float32_matmul_precision()
    # With another setting, CPUs with bfloat16 instructions would use them for fp32, too.
    if device.type != "cuda" and not config.deterministic and products == "highest":
        yield
        return
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled,
            benchmark=config.cudnn_benchmark,
            deterministic=config.deterministic,
            allow_tf32=precision == "tf32",
        ):
            yield
    except RuntimeError as error:
        match = _NO_SUCH_KERNEL.match(str(error)) if config.deterministic else None
        if match is None:
            raise
        raise GanzooError(
            f"train.deterministic: torch has no deterministic '{match['operation']}' on {device.type}, which this "
            "recipe uses.",
            "Set train.deterministic=false, or remove the part that uses it (an augmentation, a resampling).",
        ) from error
    finally:
        torch.set_float32_matmul_precision(products)
        torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
