"""How a phase's turn is executed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch

from ganzoo.errors import GanzooError
from ganzoo.objective import Batch

Turn = Callable[[Batch], None]
"""One turn of a phase: forward, backward, optimizer step."""


class Engine(Protocol):
    """Turns a phase's turn into something faster that does the same."""

    name: str

    def prepare(self, turn: Turn) -> Turn:
        """Called once for each phase, before training."""


class EagerEngine:
    """Run it as it is written."""

    name = "eager"

    def prepare(self, turn: Turn) -> Turn:
        """The turn itself."""
        return turn


def choose_engine(name: str, device: torch.device) -> Engine:
    """The engine a recipe asks for; ``auto`` is the fastest one that works on the device.

    Raises:
        GanzooError: The engine is not available.
    """
    if name in ("auto", "eager"):
        return EagerEngine()
    raise GanzooError(
        f"This version of ganzoo has no engine '{name}' for {device.type}.", "Use train.engine=auto or eager."
    )
