"""The engine interface, and helpers for engines that fall back to running a phase eagerly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import nn

from ganzoo.reproducibility import global_state, restore_global_state
from ganzoo.training.step import StepFn, StepGroup

LONGEST_REASON = 160


class Engine(Protocol):
    """Maps a group of phases to a faster function that does the same."""

    @property
    def name(self) -> str:
        """Its name in a recipe, with the phases that it could not handle: ``compile without generator``."""
        ...

    def __call__(self, group: StepGroup) -> StepFn:
        """Called for each group before training, and again when a checkpoint is restored."""
        ...


def snapshot(modules: Sequence[nn.Module], device: torch.device) -> Callable[[], None]:
    """Save the modules' buffers and the random state; returns a function that restores them."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    values, random = [buffer.clone() for buffer in buffers], global_state(device)

    def rollback() -> None:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        restore_global_state(random, device)

    return rollback


def name_with_fallbacks(engine: str, taken: dict[str, bool]) -> str:
    """An engine's name with the phases that run eagerly.

    Args:
        engine: The engine's name in a recipe.
        taken: Whether the engine could handle each phase.
    """
    eager = [phase for phase, worked in taken.items() if not worked]
    if not eager:
        return engine
    return f"{engine} without {', '.join(eager)}" if any(taken.values()) else "eager"


def fallback_message(phase: str, what: str, error: Exception) -> str:
    """Why a phase runs eagerly: torch cannot do ``what``."""
    return f"The phase '{phase}' runs eagerly, because torch cannot {what} ({first_line(error)})."


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message, without a full stop."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines[:1])}"[:LONGEST_REASON].rstrip(".: ")
