"""The engine that captures whole groups of phases as CUDA graphs, and then replays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from ganzoo.api.objective import Batch
from ganzoo.errors import RunError, is_out_of_memory
from ganzoo.training.engines.base import Engine, fallback_message, first_line, name_with_fallbacks, snapshot
from ganzoo.training.step import StepFn, StepGroup

WARM_UP = 3
"""Calls before a group is captured, in which libraries choose their kernels and optimizers create their state."""


class Recorder(Protocol):
    """The interface of ``CudaGraphs``; tests have an implementation for CPUs."""

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run work in a way that prepares its capture."""

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record work without running it on the device; returns a function that runs it on the same memory."""


class CaptureEngine:
    """Replays each group as one graph: latent codes, forward, backward, optimizer step and the recording of its losses.

    None of this then runs in Python. The host still sets schedules, chooses the real rows, which are copied to where
    the captured work reads them, and updates the moving average. The first steps run without capture; they are normal
    training steps, so nothing has to be undone. Before it is captured, a group is tried on tensors without values: a
    group that cannot be captured keeps running without capture, with a message. If the capture then fails anyway, the
    run ends, because the failure can leave the GPU in a broken state.

    Args:
        recorder: Captures the work.
        device: The networks' device.
        latents: The generator that latent codes are drawn with.
        log: Called with a message about what could not be captured.
        inner: Makes the function to capture, for instance one with compiled losses; None captures the group itself.
    """

    def __init__(
        self,
        recorder: Recorder,
        device: torch.device,
        latents: torch.Generator,
        log: Callable[[str], None],
        inner: Engine | None = None,
    ) -> None:
        self._recorder = recorder
        self._device = device
        self._latents = latents
        self._log = log
        self._inner = inner
        self._captured: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """``cudagraph`` or ``compile-cudagraph``, with the phases that run eagerly."""
        inner = "eager" if self._inner is None else self._inner.name
        if self._captured and not any(self._captured.values()):
            return inner
        return name_with_fallbacks("cudagraph" if inner == "eager" else "compile-cudagraph", self._captured)

    def __call__(self, group: StepGroup) -> StepFn:
        """The group, captured at its fourth call."""
        work = group if self._inner is None else self._inner(group)
        best: StepFn | None = None
        taken = 0

        def run(columns: Mapping[str, Tensor]) -> None:
            nonlocal best, taken
            if taken < WARM_UP:
                taken += 1
                self._recorder.warm_up(lambda: work(columns))
                return
            best = best or self.attempt(group, work, columns) or work
            best(columns)

        return run

    def attempt(self, group: StepGroup, work: StepFn, columns: Mapping[str, Tensor]) -> StepFn | None:
        """A function that replays work; None, with the state restored, if the group cannot be captured.

        Raises:
            RunError: The capture failed on the device.
        """
        rollback, latents = snapshot(group.modules, self._device), self._latents.get_state()

        def undo() -> None:
            rollback()
            self._latents.set_state(latents)

        try:
            self._try_out(group, columns)
        except Exception as error:
            undo()
            self._captured[group.name] = False
            self._log(fallback_message(group.name, "capture its work", error))
            return None
        undo()
        try:
            replayed = self._capture(group, work, columns)
        except Exception as error:
            if is_out_of_memory(error):
                raise
            # Ending a broken capture raises another error, which is less informative than the first.
            first: BaseException = error
            while first.__context__ is not None:
                first = first.__context__
            raise RunError(
                f"Capturing the phase '{group.name}' as a CUDA graph failed: {first_line(first)}.",
                "Train with train.engine=eager; resume a saved run with --set train.engine=eager.",
            ) from error
        self._captured[group.name] = True
        return replayed

    def _try_out(self, group: StepGroup, columns: Mapping[str, Tensor]) -> None:
        """Raise if a loss needs to know a value, or a size that depends on one."""
        batch = Batch.of(columns, group.latents())
        try:
            with FakeTensorMode(allow_non_fake_inputs=True):
                batch = group.with_fakes(batch)
                for step in group.phases:
                    step.begin()
                    step.loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]
        finally:
            for step in group.phases:
                step.begin()  # drops gradients, which have no values

    def _capture(self, group: StepGroup, work: StepFn, columns: Mapping[str, Tensor]) -> StepFn:
        inputs = {name: column.clone() for name, column in columns.items()}
        replay = self._recorder.capture(lambda: work(inputs))
        # Keep them, so that they stay where the graph writes them, and set them for code that reads gradients.
        gradients = [parameter.grad for parameter in group.trained]

        def run(columns: Mapping[str, Tensor]) -> None:
            for name, column in inputs.items():
                column.copy_(columns[name])
            replay()
            for parameter, gradient in zip(group.trained, gradients, strict=True):
                parameter.grad = gradient

        return run


class CudaGraphs:
    """Captures work on one GPU as CUDA graphs, each of which is replayed as a whole.

    Each graph has its own memory pool, so that graphs do not overwrite each other's results, whatever the order in
    which they are replayed. Data that must outlive the next replay of the same graph must be in memory from before the
    capture, or in a tensor that is kept. Graphs are replayed one after another on one stream.

    Args:
        device: The GPU.
        generator: A generator that work draws from, in addition to the device's default one.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device = device
        self._generator = generator
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run work on the stream that it will be captured on: libraries initialise themselves in their first calls."""
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            work()
        main.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record work without running it on the GPU; returns a function that runs it on the same memory.

        Raises:
            RuntimeError: The work waits for the device, or does something else that a graph cannot contain.
        """
        graph = torch.cuda.CUDAGraph()
        graph.register_generator_state(self._generator)
        main = torch.cuda.current_stream(self._device)
        try:
            with torch.cuda.graph(graph, stream=self._stream):
                work()
        except Exception:
            # If ending the capture fails too, torch leaves the capture's stream current.
            torch.cuda.set_stream(main)
            raise
        return graph.replay
