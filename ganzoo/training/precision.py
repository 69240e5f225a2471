"""Devices and number formats."""

from __future__ import annotations

import torch

from ganzoo.errors import GanzooError


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
    """``auto`` is bf16 where the hardware multiplies it natively, else fp32."""
    if name != "auto":
        return name
    return "bf16" if _native_bf16(device) else "fp32"


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """The context that phases compute their losses in."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def _native_bf16(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.backends.cpu.get_cpu_capability()
        return "AVX512" in capabilities and bool(torch.cpu._is_avx512_bf16_supported())
    return False
