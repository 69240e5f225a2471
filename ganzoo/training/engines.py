"""Engines, which execute a step's work: as it is written, with compiled losses, or as captured CUDA graphs."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ganzoo.api.dataset import cache_folder
from ganzoo.api.objective import Batch, Losses
from ganzoo.errors import RunError, is_out_of_memory
from ganzoo.reproducibility import global_state, restore_global_state
from ganzoo.training.step import PhaseStep, StepFn, StepGroup

CAPTURING = ("cudagraph", "compile-cudagraph")  # they capture optimizer steps too
WARM_UP = 3  # calls before a capture, in which libraries choose their kernels and optimizers create their state
COMPILATIONS = 256  # of one function: all phases' losses are the same code, for which torch's own limit is 8
LONGEST_REASON = 160


class Engine:
    """Executes groups of phases as they are written. Subclasses make them faster, which then do the same."""

    requested = "eager"  # as in train.engine

    def __init__(self, log: Callable[[str], None] = lambda sentence: None) -> None:
        self._log = log  # called with a message about what could not be made faster
        self._taken: dict[str, bool] = {}  # whether it could handle each phase

    @property
    def name(self) -> str:
        """Its name in a recipe, with the phases that run eagerly: ``compile without generator``."""
        eager = [phase for phase, worked in self._taken.items() if not worked]
        if not eager:
            return self.requested
        return f"{self.requested} without {', '.join(eager)}" if any(self._taken.values()) else "eager"

    def prepare(self, groups: Sequence[StepGroup]) -> None:
        """Called before training, and again with new groups when a checkpoint is restored."""

    def fall_back(self, phase: str, what: str, error: Exception) -> None:
        """Note that a phase runs eagerly, because torch cannot do ``what``."""
        self._taken[phase] = False
        self._log(f"The phase '{phase}' runs eagerly, because torch cannot {what} ({first_line(error)}).")

    def _try(
        self,
        name: str,
        what: str,
        work: Callable[[], object],
        phases: Sequence[PhaseStep],
        rollback: Callable[[], None],
    ) -> None:
        """Note whether torch can do ``what``, by doing it once. Training's state is the same afterwards."""
        try:
            work()
            self._taken[name] = True
        except Exception as error:
            self.fall_back(name, what, error)
        finally:
            for phase in phases:
                phase.begin()  # drops the gradients
            rollback()


def snapshot(modules: Sequence[nn.Module], device: torch.device) -> Callable[[], None]:
    """Save the modules' buffers and the random state; returns a function that restores them."""
    buffers = [buffer for module in modules for buffer in module.buffers()]
    values, random = [buffer.clone() for buffer in buffers], global_state(device)

    def rollback() -> None:
        for buffer, value in zip(buffers, values, strict=True):
            buffer.copy_(value)
        restore_global_state(random, device)

    return rollback


def first_line(error: BaseException) -> str:
    """An error's class and the first line of its message, without a full stop."""
    line = "".join(str(error).strip().splitlines()[:1])
    return f"{type(error).__name__}: {line}"[:LONGEST_REASON].rstrip(".: ")


class CompileEngine(Engine):
    """Compiles each phase's loss, forward and backward; one that cannot be compiled runs eagerly, with a message.

    Results agree within rounding. Phases that share fakes are compiled separately, and each generates them: G's running
    statistics are then updated twice per step, and noise that G itself draws differs between the two.
    """

    requested = "compile"

    def __init__(self, device: torch.device, log: Callable[[str], None]) -> None:
        super().__init__(log)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_private_cache(log))
        self._device = device

    def prepare(self, groups: Sequence[StepGroup]) -> None:
        """Compile the groups' losses; the compiler starts at each one's first call."""
        self._taken.clear()
        for group in groups:
            group.shares_fakes = False
            for phase in group.phases:
                self._prepare(phase, group)

    def _prepare(self, phase: PhaseStep, group: StepGroup) -> None:
        def loss_of(batch: Batch) -> Losses:
            if phase.phase.shares_fakes:
                with phase.autocast():
                    batch = replace(batch, fake=group.objective.fakes(phase.networks, batch))
            return phase.eager_loss(batch)

        def loss(real: Tensor, label: Tensor, z: Tensor, source: Tensor | None, extra: Mapping[str, Tensor]) -> Losses:
            return loss_of(Batch(real, label, z, source, extra=extra))

        # All or nothing: a gradient penalty cannot be differentiated through half-compiled code.
        compiled = torch.compile(loss, fullgraph=True, dynamic=False, options={"fallback_random": True})

        def forward(batch: Batch) -> Losses:
            columns = batch.real, batch.label, batch.z, batch.source, batch.extra
            if phase.name not in self._taken:

                def work() -> None:
                    with warnings.catch_warnings(), torch._dynamo.config.patch(recompile_limit=COMPILATIONS):
                        warnings.simplefilter("ignore", DeprecationWarning)  # torch's, about its own code
                        compiled(*columns)["loss"].backward()  # type: ignore[no-untyped-call]

                self._try(phase.name, "compile its loss", work, [phase], snapshot(group.modules, self._device))
            if self._taken[phase.name]:
                try:
                    return compiled(*columns)
                except torch._dynamo.exc.TorchDynamoException as error:  # something has changed, so torch recompiles
                    self.fall_back(phase.name, "compile its loss", error)
            return loss_of(batch)

        phase.forward = forward


def _private_cache(log: Callable[[str], None]) -> Path:
    """The folder of compiled code: torch executes what it finds there, so no other user may write to it."""
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = Path(named) if named else cache_folder("compiled")  # by default, torch uses a predictable name in /tmp
    if os.name == "nt" or not folder.exists():
        return folder
    status = folder.stat()
    if not named and status.st_uid == os.geteuid():
        folder.chmod(0o700)
    elif status.st_uid != os.geteuid() or status.st_mode & 0o022:
        log(f"Compiled code is not kept: others can write to {folder}, and what they put there would be executed.")
        folder = Path(tempfile.mkdtemp(prefix="ganzoo-compiled-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


class CaptureEngine(Engine):
    """Replays each group as one graph: latent codes, forward, backward, optimizer step and the recording of its losses.

    The host still sets schedules, copies real rows to where the graph reads them, and updates the moving average. The
    first steps, without capture, are normal training steps. Before a capture, each group is tried on tensors without
    values: a capture that fails can leave the GPU in a broken state, so it ends the run. An ``inner`` engine prepares
    the work to capture.
    """

    def __init__(
        self,
        recorder: CudaGraphs,
        device: torch.device,
        latents: torch.Generator,
        log: Callable[[str], None],
        inner: Engine | None = None,
    ) -> None:
        super().__init__(log)
        self._recorder, self._device, self._latents = recorder, device, latents
        self._inner = inner or Engine()

    @property
    def name(self) -> str:
        """``cudagraph`` or ``compile-cudagraph``, with the phases that run eagerly."""
        self.requested = "cudagraph" if self._inner.name == "eager" else "compile-cudagraph"
        name = super().name
        return self._inner.name if name == "eager" else name

    def prepare(self, groups: Sequence[StepGroup]) -> None:
        """Make each group's fourth call capture it."""
        self._inner.prepare(groups)
        for group in groups:
            self._prepare(group)

    def _prepare(self, group: StepGroup) -> None:
        calls = 0
        replay: StepFn | None = None

        def execute(train: StepFn, columns: Mapping[str, Tensor]) -> None:
            nonlocal calls, replay
            calls += 1
            if calls <= WARM_UP:
                self._recorder.warm_up(lambda: train(columns))
                return
            if replay is None:
                self._try_on_fakes(group, columns)
                replay = self._capture(group, train, columns) if self._taken[group.name] else train
            replay(columns)

        group.execute = execute

    def _try_on_fakes(self, group: StepGroup, columns: Mapping[str, Tensor]) -> None:
        """Try whether no loss needs to know a value, or a size that depends on one, on tensors without values."""
        rollback, latents = snapshot(group.modules, self._device), self._latents.get_state()
        batch = Batch.of(columns, group.latents())
        self._latents.set_state(latents)

        def work() -> None:
            with FakeTensorMode(allow_non_fake_inputs=True):
                group.forward_and_backward(batch)

        self._try(group.name, "capture its work", work, group.phases, rollback)

    def _capture(self, group: StepGroup, train: StepFn, columns: Mapping[str, Tensor]) -> StepFn:
        """A function that replays the group's work."""
        inputs = {name: column.clone() for name, column in columns.items()}
        try:
            replay = self._recorder.capture(lambda: train(inputs))
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
    """Captures work on one GPU as CUDA graphs, each with its own memory pool, so they can be replayed in any order.

    Data that must outlive a graph's next replay must be in memory from before the capture, or in a tensor that is kept.
    """

    def __init__(self, device: torch.device, generator: torch.Generator) -> None:
        self._device, self._generator = device, generator  # work draws from it and from the device's default one
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def warm_up(self, work: Callable[[], None]) -> None:
        """Run work on the stream that it will be captured on: libraries initialise themselves in their first calls."""
        main = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(main)
        with torch.cuda.stream(self._stream):
            work()
        main.wait_stream(self._stream)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record work that never waits for the device, without running it; returns a function that runs it."""
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
