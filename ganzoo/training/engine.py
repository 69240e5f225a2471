"""How a phase's turn is executed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from ganzoo.errors import GanzooError
from ganzoo.objective import Batch, Losses

AUTO = ("on a CPU, compiling mostly takes longer than it saves", "compiled phases have not been measured on a GPU yet")
"""Why ``auto`` is eager: on a CPU, and on a GPU."""

Turn = Callable[[Batch], None]
"""One turn of a phase: forward, backward, optimizer step."""


@dataclass(frozen=True)
class Work:
    """The parts of a phase's turn, in the order in which they run; the backward pass comes after ``loss``.

    Attributes:
        name: The phase's.
        begin: Switches gradients on for the phase's networks and off for the others, and drops old ones.
        loss: From a batch to the phase's losses, ``"loss"`` being the one to minimise. May change buffers in place.
        step: Uses the gradients: the optimizers' steps and what the phase does after them.
        record: Notes the losses; does not wait for the device.
        modules: Whatever holds the buffers that ``loss`` may change.
    """

    name: str
    begin: Callable[[], None]
    loss: Callable[[Batch], Losses]
    step: Callable[[], None]
    record: Callable[[Losses], None]
    modules: tuple[nn.Module, ...]


class Engine(Protocol):
    """Executes a phase's work, perhaps faster than it is written, with the same result."""

    @property
    def name(self) -> str:
        """What a recipe calls it, and what it could not do."""
        ...

    def prepare(self, work: Work) -> Turn:
        """Called once for each phase, before training."""
        ...


class EagerEngine:
    """Runs the work as it is written."""

    name = "eager"

    def prepare(self, work: Work) -> Turn:
        """The parts, one after another."""

        def turn(batch: Batch) -> None:
            work.begin()
            losses = work.loss(batch)
            backward(losses)
            work.step()
            work.record(losses)

        return turn


def backward(losses: Losses) -> None:
    """The gradients of what is minimised."""
    losses["loss"].backward()  # type: ignore[no-untyped-call]


def choose_engine(name: str, device: torch.device, say: Callable[[str], None]) -> Engine:
    """The engine a recipe asks for.

    ``auto`` is eager everywhere. On a CPU, matrix products take nearly all of the time, compiled or not, and compiling
    itself takes longer than most trainings here gain by it; on a GPU nothing else has been measured yet.

    Args:
        name: One of ``auto``, ``eager``, ``compile``, ``cudagraph``.
        device: Where the networks are.
        say: Told what was taken, where that was left open, and what could not be done.

    Raises:
        GanzooError: The engine is not available.
    """
    if name == "compile":
        # Here, because torch's compiler takes long to import.
        from ganzoo.training.compiling import CompileEngine

        return CompileEngine(device, say)
    if name == "auto":
        say(f"Engine eager: {AUTO[device.type == 'cuda']}; train.engine=compile tries the other.")
    if name in ("auto", "eager"):
        return EagerEngine()
    raise GanzooError(
        f"This version of ganzoo has no engine '{name}' for {device.type}.", "Use train.engine=auto, eager or compile."
    )
