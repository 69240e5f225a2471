"""The engine that captures works whole, and from then on replays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ganzoo.api.objective import Batch
from ganzoo.training.engine import EagerEngine, Turn, Work, backward, eagerly, left_out, moment, partly

WARM_UP = 3
"""Turns before a phase is captured, in which libraries choose their kernels and optimizers make their state."""


class Recorder(Protocol):
    """What captures: ``CudaGraphs``; tests have one for CPUs."""

    def aside(self, work: Callable[[], None]) -> None:
        """Do work the way that prepares its capture."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Note what work asks of the device, without its being done, and give what does it on the same memory."""


class CaptureEngine:
    """Replays each phase as one piece: latent codes, forward, backward, optimizer step and the note of its losses.

    Phases that share fakes are one piece together. Nothing of it is Python any more then. What stays on the host is the
    schedule, the choice of real images, which are copied to where the captured work reads them, and the moving average.
    The first turns of a phase are taken as they are written; they are steps of the training like all others, so that
    nothing has to be undone. A phase that cannot be captured goes on so, with a sentence: it is tried out on tensors
    without values before, since a capture that breaks off can leave a GPU in disorder.

    Args:
        recorder: Captures.
        device: Where the networks are.
        latents: What latent codes are drawn with.
        say: Told of what could not be captured.
    """

    def __init__(
        self, recorder: Recorder, device: torch.device, latents: torch.Generator, say: Callable[[str], None]
    ) -> None:
        self._recorder = recorder
        self._device = device
        self._latents = latents
        self._say = say
        self._captured: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """``cudagraph``, with the phases that had to be left out."""
        return partly("cudagraph", self._captured)

    def prepare(self, work: Work) -> Turn:
        """The turn that is captured at its fourth call."""
        eager = EagerEngine().prepare(work)
        best: Turn | None = None
        taken = 0

        def turn(columns: Mapping[str, Tensor]) -> None:
            nonlocal best, taken
            if taken < WARM_UP:
                taken += 1
                self._recorder.aside(lambda: eager(columns))
                return
            best = best or self._attempt(work, columns) or eager
            best(columns)

        return turn

    def _attempt(self, work: Work, columns: Mapping[str, Tensor]) -> Turn | None:
        """A turn that replays; None, and everything as it was, where the work cannot be captured."""
        back, latents = moment(work.modules, self._device), self._latents.get_state()

        def undo() -> None:
            back()
            self._latents.set_state(latents)

        try:
            self._try_out(work, columns)
            undo()
            replayed = self._captured_turn(work, columns)
        except Exception as error:
            undo()
            self._captured[work.name] = False
            self._say(left_out(work.name, "capture its work", error))
            return None
        self._captured[work.name] = True
        return replayed

    def _try_out(self, work: Work, columns: Mapping[str, Tensor]) -> None:
        """Raise where a loss needs to know a value, or a size that depends on one."""
        batch = Batch.of(columns, work.latents())
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                batch = work.complete(batch)
                for part in work.parts:
                    part.begin()
                    backward(part.loss(batch))
        finally:
            for part in work.parts:
                part.begin()  # gradients without values

    def _captured_turn(self, work: Work, columns: Mapping[str, Tensor]) -> Turn:
        inputs = {name: column.clone() for name, column in columns.items()}
        replay = self._recorder.capture(lambda: eagerly(work, Batch.of(inputs, work.latents())))
        # Kept, so that they stay where the graph writes them, and shown to whoever looks at gradients.
        trained = [parameter for part in work.parts for parameter in part.trained]
        gradients = [parameter.grad for parameter in trained]

        def turn(columns: Mapping[str, Tensor]) -> None:
            for name, column in inputs.items():
                column.copy_(columns[name])
            replay()
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient

        return turn
