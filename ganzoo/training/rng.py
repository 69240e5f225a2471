"""Independent random number streams, each restored on resume."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor


def derive_seed(seed: int, purpose: str) -> int:
    """The seed of one stream: drawing more from one stream never changes another."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """The random number generator for one purpose, on ``device``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


def global_state(device: torch.device) -> dict[str, Tensor]:
    """The state of torch's default generators (dropout, augmentations, interpolation), uint8."""
    states = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_global_state(states: dict[str, Tensor], device: torch.device, otherwise: int = 0) -> None:
    """Restore the result of ``global_state``.

    Args:
        states: By device.
        device: Where the training is.
        otherwise: Seeds the GPU's generator where the states were taken without one.
    """
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        if "cuda" in states:
            torch.cuda.set_rng_state(states["cuda"], device)
        else:
            torch.cuda.manual_seed(otherwise)


def restore_stream(generator: torch.Generator, state: Tensor, otherwise: int) -> None:
    """Restore a generator's state; one that was taken on another kind of device is replaced by a seed.

    Args:
        generator: On the device of the training.
        state: Of its size on that kind of device; a CPU's is some 5,000 bytes, a GPU's 16.
        otherwise: The seed to go on with where the sizes differ.
    """
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        generator.manual_seed(otherwise)
