"""The hardware and software that a result was measured on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

VERSIONED = ("ganzoo-bench", "torchvision", "torch-fidelity", "numpy")


def environment(device: torch.device) -> dict[str, Any]:
    """Hardware and versions, as JSON: cpu, instructions, cores, threads, gpu, system, versions.

    torch.__version__ names the build (``+cpu``, ``+cu130``), which the package metadata may omit.
    """
    return {
        "device": str(device),
        "cpu": _cpu_name(),
        "instructions": _instructions(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "system": f"{platform.system()} {platform.machine()}",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            **{name: _version(name) for name in VERSIONED},
        },
    }


def in_words(found: Mapping[str, Any]) -> str:
    """An environment as text: hardware, threads and torch."""
    return f"{hardware_in_words(found)}, threads: {found['threads']}, torch {found['versions']['torch']}"


def hardware_in_words(found: Mapping[str, Any]) -> str:
    """The GPU, or else the CPU with its instructions: results are comparable only on the same hardware."""
    if found.get("gpu"):
        return str(found["gpu"])
    cpu, listed = found.get("cpu"), found.get("instructions")
    # Early versions wrote none, and an untrusted file may contain anything here.
    instructions = ", ".join(map(str, listed)) if isinstance(listed, list) else ""
    return f"{cpu} ({instructions})" if instructions else str(cpu)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _instructions() -> list[str]:
    """The CPU's matrix instructions: CPUs of one name can differ tenfold in bfloat16."""
    known = {
        "AVX2": torch.cpu._is_avx2_supported(),
        "AVX512": torch.cpu._is_avx512_supported(),
        "AVX512-BF16": torch.cpu._is_avx512_bf16_supported(),
        "AMX": torch.cpu._is_amx_tile_supported(),
    }
    return [name for name, supported in known.items() if supported]


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
