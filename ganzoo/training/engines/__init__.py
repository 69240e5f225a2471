"""Engines: each makes a faster function of a group of phases. ``train.engine`` names one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ganzoo.errors import GanzooError
from ganzoo.training.engines.base import EagerEngine, Engine

__all__ = ["Engine", "choose_engine"]

AUTO = (
    "on a CPU, compiling mostly takes longer than it saves; train.engine=compile tries it",
    "the others have not been measured on a GPU yet; train.engine=cudagraph and train.engine=compile try them",
)
"""Why ``auto`` is eager: on a CPU, and on a GPU."""


def choose_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine that a recipe asks for.

    ``auto`` is eager everywhere. On a CPU, matrix products take nearly all of the time, compiled or not, and compiling
    itself takes longer than most trainings here gain by it; on a GPU nothing else has been measured yet.

    Args:
        name: One of ``auto``, ``eager``, ``compile``, ``cudagraph``.
        device: Where the networks are.
        latents: What latent codes are drawn with.
        log: Called with a sentence on what ``auto`` became, and on what an engine could not do.
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
        from ganzoo.training.engines.cudagraph import CaptureEngine, CudaGraphs

        return CaptureEngine(CudaGraphs(device, latents), device, latents, log)
    if name == "compile":
        # Here, because torch's compiler takes long to import.
        from ganzoo.training.engines.compile import CompileEngine

        return CompileEngine(device, log)
    if name == "auto":
        log(f"Engine eager: {AUTO[device.type == 'cuda']}.")
    return EagerEngine()
