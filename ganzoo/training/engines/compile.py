"""The engine that compiles losses with ``torch.compile``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import torch
import torch._dynamo
from torch import Tensor, nn

from ganzoo.api.dataset import cache_folder
from ganzoo.api.objective import Batch, Losses
from ganzoo.training.engines.base import fallback_message, name_with_fallbacks, snapshot
from ganzoo.training.step import PhaseStep, StepFn, StepGroup

CompiledLoss = Callable[[dict[str, Tensor], Tensor], Losses]
"""From a batch's columns and latent codes to losses."""
COMPILATIONS = 256
"""The most compilations of one function: all phases' losses are the same code, for which torch's own limit is 8."""


class CompileEngine:
    """Compiles each phase's loss, forward and backward; optimizers are torch's fused ones already.

    A loss that cannot be compiled runs eagerly from the start, with a message. Random numbers are those of eager
    execution; sums may be computed in another order, so results agree within rounding. Phases that share fakes are
    compiled separately, and each generates them from the same latent codes: G's running statistics are then updated
    twice per step, and noise that G itself draws differs between the two.

    Args:
        device: The networks' device.
        log: Called with a message about what could not be compiled.
    """

    def __init__(self, device: torch.device, log: Callable[[str], None]) -> None:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_private_cache(log))
        self._device = device
        self._log = log
        self._compiled: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """``compile``, with the phases that run eagerly."""
        return name_with_fallbacks("compile", self._compiled)

    def __call__(self, group: StepGroup) -> StepFn:
        """The group with compiled losses; the compiler starts at its first call."""
        steps = [self._phase(step, group.modules) for step in group.phases]

        def run(columns: Mapping[str, Tensor]) -> None:
            named, z = dict(columns), group.latents()
            for step in steps:
                step(named, z)

        return run

    def _phase(self, step: PhaseStep, modules: Sequence[nn.Module]) -> Callable[[dict[str, Tensor], Tensor], None]:
        # All or nothing: a gradient penalty cannot be differentiated through half-compiled code.
        loss = torch.compile(
            lambda columns, z: step.loss(Batch.of(columns, z)),
            fullgraph=True,
            dynamic=False,
            options={"fallback_random": True},
        )
        tried = failed = False

        def run(columns: dict[str, Tensor], z: Tensor) -> None:
            nonlocal tried, failed
            rollback = None if tried else snapshot(modules, self._device)
            losses = None if failed else self._attempt(step, loss, columns, z, rollback)
            tried, failed = True, losses is None
            if losses is None:
                step(Batch.of(columns, z))
            else:
                step.update(losses)

        return run

    def _attempt(
        self,
        step: PhaseStep,
        loss: CompiledLoss,
        columns: dict[str, Tensor],
        z: Tensor,
        rollback: Callable[[], None] | None,
    ) -> Losses | None:
        """Losses, after their backward pass; None, with the state restored, if compiling fails.

        Args:
            step: The phase's step.
            loss: The phase's compiled loss.
            columns: The batch.
            z: The batch's latent codes.
            rollback: Undoes what the first attempt changed; None in later ones.
        """
        try:
            step.begin()
            with _compiling() if rollback is not None else nullcontext():
                losses = loss(columns, z)
                losses["loss"].backward()  # type: ignore[no-untyped-call]
        except Exception as error:
            # A later call recompiles if something has changed, and computes nothing before that.
            if rollback is None and not isinstance(error, torch._dynamo.exc.TorchDynamoException):
                raise
            if rollback is not None:
                rollback()
            self._compiled[step.phase.name] = False
            self._log(fallback_message(step.phase.name, "compile its loss", error))
            return None
        self._compiled[step.phase.name] = True
        return losses


def _private_cache(log: Callable[[str], None]) -> Path:
    """The folder of compiled code: torch unpickles and runs what it finds there, so no other user may write to it.

    torch's default is a folder in /tmp with a predictable name. ``TORCHINDUCTOR_CACHE_DIR`` overrides it.
    """
    named = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    folder = Path(named) if named else cache_folder("compiled")
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


@contextmanager
def _compiling() -> Iterator[None]:
    """Allow enough compilations for all phases, and silence torch's deprecation warnings about its own code."""
    with warnings.catch_warnings(), torch._dynamo.config.patch(recompile_limit=COMPILATIONS):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield
