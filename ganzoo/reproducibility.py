"""Reproducible computations: seeding and restoring random states, and full precision."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def global_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's default generators (dropout, augmentations, interpolation), uint8, by device type.

    Includes the CPU's, and that of ``device`` if it is an accelerator.
    """
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def restore_global_state(states: Mapping[str, Tensor], device: torch.device, otherwise: int = 0) -> None:
    """Restore the result of ``global_state``.

    Args:
        states: By device type.
        device: The accelerator, or the CPU.
        otherwise: Seeds the accelerator's generator if ``states`` has none of its type.
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
    """Seed the default generators of the CPU and of ``device`` for the block, then restore their states.

    ``torch.manual_seed`` would seed every accelerator, including those that are not restored.
    """
    before = global_state(device)
    restore_global_state({"cpu": seeded_state(seed, torch.device("cpu"))}, device, seed)
    try:
        yield
    finally:
        restore_global_state(before, device)


def canonical_order(images: Tensor) -> Tensor:
    """Indices (n,) that sort the rows (n, ...) by their bytes: one order for a set, whatever the order in its file."""
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
