"""The engine that compiles losses with ``torch.compile``."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
import torch._dynamo
from torch import Tensor, nn

from ganzoo.api.dataset import cache_folder
from ganzoo.api.objective import Batch, Losses
from ganzoo.training.engine import Part, Turn, Work, backward, left_out, moment, partly, take_part

CompiledLoss = Callable[[dict[str, Tensor], Tensor], Losses]
"""From a batch's columns and latent codes to losses."""
COMPILATIONS = 256
"""Of one function: all phases' losses are the same few lines of the trainer, which torch allows 8 compilations."""


class CompileEngine:
    """Compiles each phase's loss, forward and backward; optimizers are torch's fused ones already.

    A loss that cannot be compiled is executed as it is written, from its first turn on, and with a sentence. Random
    numbers are those of the eager engine; sums may be taken in another order, so that results agree within rounding.
    Phases that share fakes are compiled apart, and each generates them from the same latent codes.

    Args:
        device: Where the networks are.
        say: Told of what could not be compiled.
    """

    def __init__(self, device: torch.device, say: Callable[[str], None]) -> None:
        # torch unpickles what it finds there, and its own choice is a folder of /tmp that anybody can guess.
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache_folder("compiled")))
        self._device = device
        self._say = say
        self._compiled: dict[str, bool] = {}

    @property
    def name(self) -> str:
        """``compile``, with the phases that had to be left out."""
        return partly("compile", self._compiled)

    def prepare(self, work: Work) -> Turn:
        """The turn with compiled losses; the compiler starts at its first call."""
        parts = [self._prepared(part, work.modules) for part in work.parts]

        def turn(columns: Mapping[str, Tensor]) -> None:
            batch, z = dict(columns), work.latents()
            for take in parts:
                take(batch, z)

        return turn

    def _prepared(self, part: Part, modules: Sequence[nn.Module]) -> Callable[[dict[str, Tensor], Tensor], None]:
        # Whole or not at all: a gradient penalty cannot be differentiated through half-compiled code.
        loss = torch.compile(_on_tensors(part), fullgraph=True, dynamic=False, options={"fallback_random": True})
        tried = failed = False

        def take(columns: dict[str, Tensor], z: Tensor) -> None:
            nonlocal tried, failed
            back = None if tried else moment(modules, self._device)
            losses = None if failed else self._attempt(part, loss, columns, z, back)
            tried, failed = True, losses is None
            if losses is None:
                take_part(part, Batch.of(columns, z))
            else:
                part.step()
                part.record(losses)

        return take

    def _attempt(
        self, part: Part, loss: CompiledLoss, columns: dict[str, Tensor], z: Tensor, back: Callable[[], None] | None
    ) -> Losses | None:
        """Losses whose gradients are there; None, and everything as it was, where compiling fails.

        Args:
            part: What is attempted.
            loss: Its compiled loss.
            columns: What it sees.
            z: And the latent codes.
            back: Undoes what a first attempt changed; None at later ones.
        """
        try:
            part.begin()
            with _compiling() if back is not None else nullcontext():
                losses = loss(columns, z)
                backward(losses)
        except Exception as error:
            # A later call compiles again where something has changed, and computes nothing before that.
            if back is None and not isinstance(error, torch._dynamo.exc.TorchDynamoException):
                raise
            if back is not None:
                back()
            self._compiled[part.name] = False
            self._say(left_out(part.name, "compile its loss", error))
            return None
        self._compiled[part.name] = True
        return losses


@contextmanager
def _compiling() -> Iterator[None]:
    """As many compilations as there are phases, and without torch's warnings of its own deprecated parts."""
    with warnings.catch_warnings(), torch._dynamo.config.patch(recompile_limit=COMPILATIONS):
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _on_tensors(part: Part) -> CompiledLoss:
    def loss(columns: dict[str, Tensor], z: Tensor) -> Losses:
        return part.loss(Batch.of(columns, z))

    return loss
