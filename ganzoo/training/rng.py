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


def restore_global_state(states: dict[str, Tensor], device: torch.device) -> None:
    """Restore the result of ``global_state``."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)
