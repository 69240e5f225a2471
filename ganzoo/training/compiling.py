"""The engine that compiles losses with ``torch.compile``."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
import torch._dynamo
from torch import Tensor, nn

from ganzoo.api.dataset import cache_folder
from ganzoo.api.objective import Batch, Losses
from ganzoo.training.engines import Engine, snapshot
from ganzoo.training.step import PhaseStep, StepGroup

COMPILATIONS = 256
"""The most compilations of one function: all phases' losses are the same code, for which torch's own limit is 8."""


class CompileEngine(Engine):
    """Compiles each phase's loss, forward and backward; optimizers are torch's fused ones already.

    A loss that cannot be compiled runs eagerly from the start, with a message. Random numbers are those of eager
    execution; sums may be computed in another order, so results agree within rounding. Phases that share fakes are
    compiled separately, and each generates them from the same latent codes: G's running statistics are then updated
    twice per step, and noise that G itself draws differs between the two.

    Args:
        device: The networks' device.
        log: Called with a message about what could not be compiled.
    """

    requested = "compile"

    def __init__(self, device: torch.device, log: Callable[[str], None]) -> None:
        super().__init__(log)
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(_private_cache(log))
        self._device = device

    def prepare(self, groups: Sequence[StepGroup]) -> None:
        """Compile the groups' losses; the compiler starts at each one's first call."""
        for group in groups:
            group.shares_fakes = False
            for phase in group.phases:
                self._prepare(phase, group.modules)

    def _prepare(self, phase: PhaseStep, modules: Sequence[nn.Module]) -> None:
        def loss(real: Tensor, label: Tensor, z: Tensor, source: Tensor | None, extra: Mapping[str, Tensor]) -> Losses:
            return phase.eager_loss(Batch(real, label, z, source, extra=extra))

        # All or nothing: a gradient penalty cannot be differentiated through half-compiled code.
        compiled = torch.compile(loss, fullgraph=True, dynamic=False, options={"fallback_random": True})
        tried = False

        def forward(batch: Batch) -> Losses:
            nonlocal tried
            columns = batch.real, batch.label, batch.z, batch.source, batch.extra
            if not tried:
                tried, self._taken[phase.name] = True, self._compiles(phase, lambda: compiled(*columns), modules)
            if self._taken[phase.name]:
                try:
                    return compiled(*columns)
                except torch._dynamo.exc.TorchDynamoException as error:  # something has changed, so torch recompiles
                    self.fall_back(phase.name, "compile its loss", error)
            return phase.eager_loss(batch)

        phase.forward = forward

    def _compiles(self, phase: PhaseStep, loss: Callable[[], Losses], modules: Sequence[nn.Module]) -> bool:
        """Whether a phase's loss and its gradient can be compiled. Training's state is the same afterwards."""
        rollback = snapshot(modules, self._device)
        try:
            with warnings.catch_warnings(), torch._dynamo.config.patch(recompile_limit=COMPILATIONS):
                warnings.simplefilter("ignore", DeprecationWarning)  # torch's, about its own code
                loss()["loss"].backward()  # type: ignore[no-untyped-call]
            return True
        except Exception as error:
            self.fall_back(phase.name, "compile its loss", error)
            return False
        finally:
            phase.begin()  # drops the gradients
            rollback()


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
