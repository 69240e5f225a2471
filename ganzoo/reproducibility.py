"""Computations that give the same numbers again: random states that are seeded and restored, and full precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def global_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's default generators (dropout, augmentations, interpolation), uint8, by type of device.

    That of the CPU, and that of ``device`` where it is an accelerator.
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def restore_global_state(states: Mapping[str, Tensor], device: torch.device, otherwise: int = 0) -> None:
    """Restore the result of ``global_state``.

    Args:
        states: By type of device.
        device: The accelerator, or the CPU.
        otherwise: Seeds the accelerator's generator where the states were taken without one of its type.
    """
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        state = states[device.type] if device.type in states else seeded_state(otherwise, device)
        torch.get_device_module(device).set_rng_state(state, device)


def seeded_state(seed: int, device: torch.device) -> Tensor:
    """The state of a device's generator after ``manual_seed``, uint8."""
    return torch.Generator(device).manual_seed(seed).get_state()


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seeded default generators on the CPU and on ``device``, and their old states afterwards.

    ``torch.manual_seed`` would seed every accelerator, also those that are not restored.
    """
    before = global_state(device)
    restore_global_state({"cpu": seeded_state(seed, torch.device("cpu"))}, device, seed)
    try:
        yield
    finally:
        restore_global_state(before, device)


def canonical_order(images: Tensor) -> Tensor:
    """The rows (n, ...) sorted by their bytes, as indices (n,): one order for a set, however its file sorts it."""
    values = images.contiguous().cpu().numpy().reshape(len(images), -1).view(np.uint8)
    return torch.from_numpy(np.argsort(values.view(f"V{values.shape[1]}").ravel(), kind="stable"))


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: samples and scores must not depend on how their run was trained."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)
