"""Engines: each makes a faster function of a group of phases. ``train.engine`` names one."""

from __future__ import annotations

from collections.abc import Callable

import torch

from ganzoo.errors import GanzooError
from ganzoo.training.engines.base import EagerEngine, Engine

__all__ = ["CAPTURING", "Engine", "choose_engine"]

CAPTURING = ("cudagraph", "compile-cudagraph")
"""Engines that capture optimizer steps too."""


def choose_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine that a recipe asks for.

    ``auto`` is eager here. On a CPU that is the choice: matrix products take most of the time, compiled or not, and
    compiling takes longer than most trainings gain by it. On a GPU a run measures: ``engine_choice.settle_engine``.

    Args:
        name: One of ``auto``, ``eager``, ``compile``, ``cudagraph``, ``compile-cudagraph``.
        device: Where the networks are.
        latents: What latent codes are drawn with.
        log: Called with a sentence on what ``auto`` became, and on what an engine could not do.
        processes: How many train together.

    Raises:
        GanzooError: The engine needs another device, or trains in one process.
    """
    if name in CAPTURING:
        if processes > 1:
            raise GanzooError(
                f"The engine '{name}' trains in one process, and this training has several.",
                "Use train.engine=eager or compile, or start it without torchrun.",
            )
        if device.type != "cuda":
            raise GanzooError(
                f"The engine '{name}' needs a CUDA device, and this training is on {device.type}.",
                "Use train.engine=auto, or train.device=cuda where torch sees a GPU.",
            )
        from ganzoo.training.engines.cudagraph import CaptureEngine, CudaGraphs

        inner = EagerEngine() if name == "cudagraph" else _compiling(device, log)
        return CaptureEngine(CudaGraphs(device, latents), device, latents, log, inner)
    if name == "compile":
        return _compiling(device, log)
    if name == "auto" and device.type == "cpu":
        log("Engine eager: on a CPU, compiling mostly takes longer than it saves; train.engine=compile tries it.")
    return EagerEngine()


def _compiling(device: torch.device, log: Callable[[str], None]) -> Engine:
    # Here, because torch's compiler takes long to import.
    from ganzoo.training.engines.compile import CompileEngine

    return CompileEngine(device, log)
