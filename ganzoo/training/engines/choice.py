"""Which engine a training uses: the one that ``train.engine`` names, or what ``auto`` becomes.

``auto`` on a GPU: a few steps with each engine, taken back, and then the fastest. What is faster depends on the GPU, on
the CPU that starts its kernels and on the networks, so it is measured where the training runs. The state before is
restored to the bit, and a resumed run keeps the engine that the run recorded: engines round differently.
"""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, get_args

import torch

from ganzoo.config.schema import EngineName
from ganzoo.errors import GanzooError, RunError
from ganzoo.training.engines.base import LONGEST_REASON, Engine
from ganzoo.training.engines.cudagraph import WARM_UP
from ganzoo.training.step import StepFn, StepGroup

if TYPE_CHECKING:
    from ganzoo.training.trainer import Trainer

CAPTURING = ("cudagraph", "compile-cudagraph")
"""Engines that capture optimizer steps too."""
MARGIN: Final = 0.9
"""Another engine than eager is taken where its steps need less than this share of eager's time."""
FEWEST_STEPS: Final = 200
"""A training with fewer steps left is eager: measuring takes about as many."""
COMPILED_SECONDS: Final = 600.0
"""Compiling, which takes a minute or more, is tried where the steps that are left would take longer than this."""
BLOCKS, BLOCK_SECONDS, BLOCK_STEPS = 5, 0.1, 16
"""An engine's time is the median of this many blocks, each of this many seconds or steps, whichever is less."""


class EagerEngine:
    """Runs the group as it is written."""

    name = "eager"

    def __call__(self, group: StepGroup) -> StepFn:
        """The group itself."""
        return group


def choose_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine that a recipe asks for.

    ``auto`` is eager here. On a CPU that is the choice: matrix products take most of the time, compiled or not, and
    compiling takes longer than most trainings gain by it. On a GPU a run measures: ``settle_engine``.

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
                f"The engine '{name}' trains in one process, and this run uses several.",
                "Use train.engine=eager or compile, or start it without torchrun.",
            )
        if device.type != "cuda":
            raise GanzooError(
                f"The engine '{name}' needs a CUDA device, and this training is on {device.type}.",
                "Use train.engine=auto, or train.device=cuda where torch sees a GPU.",
            )
        from ganzoo.training.engines.cudagraph import CaptureEngine, CudaGraphs

        inner = None if name == "cudagraph" else _compiling(device, log)
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


@dataclass(frozen=True)
class EngineChoice:
    """What ``auto`` became, and why.

    Attributes:
        engine: The fastest, as in ``train.engine``.
        seconds: A step's, by engine.
        left_out: Why an engine was not in the choice, by engine.
    """

    engine: str
    seconds: Mapping[str, float]
    left_out: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """For the person who waits."""
        times = [f"{seconds * 1e3:.3g} ms with {name}" for name, seconds in self.seconds.items()]
        reasons = [f" Not {name}: {reason}." for name, reason in self.left_out.items()]
        return f"Engine {self.engine}: a step takes {', '.join(times)}.{''.join(reasons)}"

    def plain(self) -> dict[str, Any]:
        """The choice as JSON, for run.json."""
        times = {name: round(1e3 * seconds, 4) for name, seconds in self.seconds.items()}
        return {"engine": self.engine, "milliseconds_a_step": times, "left_out": dict(self.left_out)}


def settle_engine(trainer: Trainer, log: Callable[[str], None] = lambda sentence: None) -> EngineChoice | None:
    """Have a training use the engine that ``train.engine=auto`` stands for.

    Args:
        trainer: At its first step, or restored.
        log: Called with a sentence on what ``auto`` became on a GPU.

    Returns:
        The choice; None where nothing is measured: the recipe names an engine, the training is not on a GPU, has
        several processes, or ends soon.

    Raises:
        RunError: Trying an engine left the GPU unusable.
    """
    if trainer.recipe.train.engine != "auto" or trainer.device.type != "cuda":
        return None
    if trainer.processes.size > 1:
        log("Engine eager: CUDA graphs need a training of one process.")
        return None
    if trainer.total_steps - trainer.steps < FEWEST_STEPS:
        log("Engine eager: measuring others would take about as many steps as are left.")
        return None
    choice = measure_engines(trainer)
    log(choice.sentence)
    return choice


def measure_engines(trainer: Trainer) -> EngineChoice:
    """Measure each engine from the same state, and use the fastest; the training goes on as if nothing had been.

    Raises:
        RunError: Trying an engine left the GPU unusable.
    """
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with trainer.rehearsal():
        trainer.use_engine("eager")
        seconds["eager"] = _seconds_a_step(trainer)
    for name in ("cudagraph", "compile-cudagraph"):
        left = (trainer.total_steps - trainer.steps) * min(seconds.values())
        if name.startswith("compile") and trainer.recipe.train.share_fakes:
            left_out[name] = "compiled phases that share fakes generate them twice"
            continue
        if name.startswith("compile") and left < COMPILED_SECONDS:
            left_out[name] = "the training is too short for compiling to pay"
            continue
        found = _tried(trainer, name)
        if isinstance(found, str):
            left_out[name] = found
        else:
            seconds[name] = found
    fastest = min(seconds, key=lambda name: seconds[name])
    best = fastest if seconds[fastest] < MARGIN * seconds["eager"] else "eager"
    trainer.use_engine(best)
    _free()
    return EngineChoice(best, seconds, left_out)


def recorded_engine(info: Mapping[str, Any], device: torch.device, processes: int) -> str | None:
    """The engine that a run recorded, as in ``train.engine``; None where it is none that this training can use.

    Args:
        info: The content of run.json.
        device: Where the run goes on; on another kind of device than before, ``auto`` chooses anew.
        processes: How many go on with it.
    """
    name = str(info.get("engine")).partition(" ")[0]  # without the phases that ran eagerly
    before = str((info.get("environment") or {}).get("device")).partition(":")[0]
    if name not in get_args(EngineName) or before != device.type or (processes > 1 and name != "eager"):
        return None
    return name


def _tried(trainer: Trainer, name: str) -> float | str:
    """Seconds of a step with this engine, or why it is left out."""
    said: list[str] = []
    try:
        with trainer.rehearsal():
            try:
                trainer.use_engine(name, said.append)
                seconds = _seconds_a_step(trainer)
                if trainer.engine.name == "eager":
                    return said[0].rstrip(".") if said else "every phase ran eagerly"
                return seconds
            except Exception as error:
                sentence = error.sentence if isinstance(error, GanzooError) else f"{type(error).__name__}: {error}"
                return " ".join(sentence.split())[:LONGEST_REASON].rstrip(".")
            finally:
                trainer.use_engine("eager")
                _free()
    except (RuntimeError, GanzooError) as error:
        raise RunError(
            f"Trying the engine '{name}' left the GPU unusable: {' '.join(str(error).split())[:LONGEST_REASON]}.",
            "Train with train.engine=eager.",
        ) from error


def _seconds_a_step(trainer: Trainer) -> float:
    for _ in range(WARM_UP + 2):  # captures happen in the first of these, and compiling
        trainer.step()
    began = _now(trainer.device)
    trainer.step()
    steps = max(1, min(BLOCK_STEPS, int(BLOCK_SECONDS / max(_now(trainer.device) - began, 1e-9))))
    times = []
    for _ in range(BLOCKS):
        began = _now(trainer.device)
        for _ in range(steps):
            trainer.step()
        times.append((_now(trainer.device) - began) / steps)
    return statistics.median(times)


def _now(device: torch.device) -> float:
    """The time at which the device has done what it was asked."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def _free() -> None:
    """Give back the memory of graphs that are no longer used."""
    gc.collect()
    torch.cuda.empty_cache()
