"""How the turns of phases are executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn

from ganzoo.api.objective import Batch, Losses
from ganzoo.errors import GanzooError
from ganzoo.training.rng import global_state, restore_global_state

AUTO = (
    "on a CPU, compiling mostly takes longer than it saves; train.engine=compile tries it",
    "the others have not been measured on a GPU yet; train.engine=cudagraph and train.engine=compile try them",
)
"""Why ``auto`` is eager: on a CPU, and on a GPU."""
LONGEST_REASON = 160

Turn = Callable[[Mapping[str, Tensor]], None]
"""What is done with one batch, given by column: latent codes, forward, backward, optimizer step."""


@dataclass(frozen=True)
class Part:
    """One phase's part of a work, in the order in which it runs; the backward pass comes after ``loss``.

    Attributes:
        name: The phase's.
        begin: Switches gradients on for the phase's networks and off for the others, and drops old ones.
        loss: From a batch to the phase's losses, ``"loss"`` being the one to minimise. May change buffers in place.
        step: Uses the gradients: the optimizers' steps and what the phase does after them.
        record: Notes the losses; does not wait for the device.
        trained: The parameters that get gradients.
    """

    name: str
    begin: Callable[[], None]
    loss: Callable[[Batch], Losses]
    step: Callable[[], None]
    record: Callable[[Losses], None]
    trained: Sequence[nn.Parameter]


@dataclass(frozen=True)
class Work:
    """What is done with one batch: a phase's turn, or the turns of phases that share its fakes, one after another.

    Attributes:
        parts: Of each phase, in order.
        latents: Draws the latent codes.
        fakes: Generates what the phases share; None where each generates its own.
        modules: Whatever holds the buffers that losses may change.
    """

    parts: tuple[Part, ...]
    latents: Callable[[], Tensor]
    fakes: Callable[[Batch], Tensor] | None
    modules: tuple[nn.Module, ...]

    @property
    def name(self) -> str:
        """The phases'."""
        return " and ".join(part.name for part in self.parts)

    def complete(self, batch: Batch) -> Batch:
        """The batch with the fakes that its phases share."""
        return batch if self.fakes is None else replace(batch, fake=self.fakes(batch))


class Engine(Protocol):
    """Executes works, perhaps faster than they are written, with the same result."""

    @property
    def name(self) -> str:
        """What a recipe calls it, and what it could not do."""
        ...

    def prepare(self, work: Work) -> Turn:
        """Called for each work, before training, and again where a training is restored."""
        ...


class EagerEngine:
    """Runs the work as it is written."""

    name = "eager"

    def prepare(self, work: Work) -> Turn:
        """The parts, one after another."""

        def turn(columns: Mapping[str, Tensor]) -> None:
            eagerly(work, Batch.of(columns, work.latents()))

        return turn


def eagerly(work: Work, batch: Batch) -> None:
    """A work on a batch, as it is written."""
    batch = work.complete(batch)
    for part in work.parts:
        take_part(part, batch)


def take_part(part: Part, batch: Batch) -> None:
    """One phase's part, as it is written."""
    part.begin()
    losses = part.loss(batch)
    backward(losses)
    part.step()
    part.record(losses)


def backward(losses: Losses) -> None:
    """The gradients of what is minimised."""
    losses["loss"].backward()  # type: ignore[no-untyped-call]


def moment(modules: Sequence[nn.Module], device: torch.device) -> Callable[[], None]:
    """A way back to the modules' buffers and the random numbers of this moment."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    values, random = [buffer.clone() for buffer in buffers], global_state(device)

    def back() -> None:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        restore_global_state(random, device)

    return back


def partly(engine: str, done: dict[str, bool]) -> str:
    """An engine's name with the phases that had to be left out: ``compile without generator``.

    Args:
        engine: What a recipe calls it.
        done: By phase, whether the engine could take it.
    """
    left_out = [phase for phase, taken in done.items() if not taken]
    if not left_out:
        return engine
    return f"{engine} without {', '.join(left_out)}" if any(done.values()) else "eager"


def left_out(phase: str, what: str, error: Exception) -> str:
    """The sentence that says why a phase is executed eagerly: torch cannot do ``what``."""
    lines = [line.strip().rstrip(".:") for line in str(error).splitlines() if line.strip()]
    reason = f"{type(error).__name__}: {' '.join(lines[:1])}"[:LONGEST_REASON]
    return f"The phase '{phase}' is executed eagerly, because torch cannot {what} ({reason})."


def choose_engine(
    name: str, device: torch.device, latents: torch.Generator, say: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine a recipe asks for.

    ``auto`` is eager everywhere. On a CPU, matrix products take nearly all of the time, compiled or not, and compiling
    itself takes longer than most trainings here gain by it; on a GPU nothing else has been measured yet.

    Args:
        name: One of ``auto``, ``eager``, ``compile``, ``cudagraph``.
        device: Where the networks are.
        latents: What latent codes are drawn with.
        say: Told what was taken, where that was left open, and what could not be done.
        processes: How many train together.

    Raises:
        GanzooError: The engine needs another device, or trains in one process.
    """
    if name == "cudagraph":
        if processes > 1:
            raise GanzooError(
                "The engine 'cudagraph' trains in one process, and this training has several.",
                "Use train.engine=eager or compile, or start it without torchrun.",
            )
        if device.type != "cuda":
            raise GanzooError(
                f"The engine 'cudagraph' needs a CUDA device, and this training is on {device.type}.",
                "Use train.engine=auto, or train.device=cuda where torch sees a GPU.",
            )
        from ganzoo.training.capturing import CaptureEngine
        from ganzoo.training.cudagraph import CudaGraphs

        return CaptureEngine(CudaGraphs(device, latents), device, latents, say)
    if name == "compile":
        # Here, because torch's compiler takes long to import.
        from ganzoo.training.compiling import CompileEngine

        return CompileEngine(device, say)
    if name == "auto":
        say(f"Engine eager: {AUTO[device.type == 'cuda']}.")
    return EagerEngine()
