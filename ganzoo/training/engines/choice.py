"""Which engine a run uses: the one that ``train.engine`` names, or the one that ``auto`` chooses.

On a GPU, ``auto`` times a few steps with each engine, undoes them, and uses the fastest. Which one is fastest depends
on the GPU, on the CPU that launches its kernels and on the networks, so it is measured where the run trains. The
previous state is restored bit for bit, and a resumed run keeps its recorded engine, because engines round differently.
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
from ganzoo.training.engines.cudagraph import WARM_UP, CaptureEngine, CudaGraphs
from ganzoo.training.step import StepFn, StepGroup

if TYPE_CHECKING:
    from ganzoo.training.trainer import Trainer

CAPTURING = ("cudagraph", "compile-cudagraph")
"""Engines that capture optimizer steps too."""
MARGIN: Final = 0.9
"""An engine other than eager is chosen if its steps take less than this share of eager's time."""
MIN_STEPS: Final = 200
"""A run with fewer steps left stays eager: measuring takes about as many."""
COMPILED_SECONDS: Final = 600.0
"""Compiling, which takes a minute or more, is tried if the remaining steps would take longer than this."""
BLOCKS, BLOCK_SECONDS, BLOCK_STEPS = 5, 0.1, 16
"""An engine's time is the median of this many blocks, each of this many seconds or steps, whichever is less."""


class EagerEngine:
    """Runs the group unchanged."""

    name = "eager"

    def __call__(self, group: StepGroup) -> StepFn:
        """The group itself."""
        return group


def choose_engine(
    name: str, device: torch.device, latents: torch.Generator, log: Callable[[str], None], processes: int = 1
) -> Engine:
    """The engine that a recipe requests.

    ``auto`` means eager here. On a CPU that is final: matrix products take most of the time, compiled or not, and
    compiling takes longer than it saves in most runs. On a GPU, ``settle_engine`` measures and chooses.

    Args:
        name: One of ``auto``, ``eager``, ``compile``, ``cudagraph``, ``compile-cudagraph``.
        device: The networks' device.
        latents: The generator that latent codes are drawn with.
        log: Called with a message about what ``auto`` chose, and about what an engine could not do.
        processes: Number of processes that train together.

    Raises:
        GanzooError: The engine needs another device, or supports only one process.
    """
    if name in CAPTURING:
        if processes > 1:
            raise GanzooError(
                f"The engine '{name}' trains in one process, but this run uses several.",
                "Use train.engine=eager or compile, or start it without torchrun.",
            )
        if device.type != "cuda":
            raise GanzooError(
                f"The engine '{name}' needs a CUDA device, but this run trains on {device.type}.",
                "Use train.engine=auto, or train.device=cuda if torch sees a GPU.",
            )
        inner = None if name == "cudagraph" else _compile_engine(device, log)
        return CaptureEngine(CudaGraphs(device, latents), device, latents, log, inner)
    if name == "compile":
        return _compile_engine(device, log)
    if name == "auto" and device.type == "cpu":
        log("Engine eager: on a CPU, compiling usually takes longer than it saves; train.engine=compile tries it.")
    return EagerEngine()


def _compile_engine(device: torch.device, log: Callable[[str], None]) -> Engine:
    # Imported here, because torch's compiler takes a long time to import.
    from ganzoo.training.engines.compile import CompileEngine

    return CompileEngine(device, log)


@dataclass(frozen=True)
class EngineChoice:
    """The engine that ``auto`` chose, and why.

    Attributes:
        engine: The chosen engine, as in ``train.engine``.
        seconds: Seconds per step, by engine.
        left_out: Why an engine was not considered, by engine.
    """

    engine: str
    seconds: Mapping[str, float]
    left_out: Mapping[str, str]

    @property
    def sentence(self) -> str:
        """The choice as a message for the user."""
        times = [f"{seconds * 1e3:.3g} ms with {name}" for name, seconds in self.seconds.items()]
        reasons = [f" Not {name}: {reason}." for name, reason in self.left_out.items()]
        return f"Engine {self.engine}: a step takes {', '.join(times)}.{''.join(reasons)}"

    def plain(self) -> dict[str, Any]:
        """The choice as JSON, for run.json."""
        times = {name: round(1e3 * seconds, 4) for name, seconds in self.seconds.items()}
        return {"engine": self.engine, "milliseconds_a_step": times, "left_out": dict(self.left_out)}


def settle_engine(trainer: Trainer, log: Callable[[str], None] = lambda sentence: None) -> EngineChoice | None:
    """Choose the engine for ``train.engine=auto``, and make the trainer use it.

    Args:
        trainer: A trainer at its first step, or restored.
        log: Called with a message about what ``auto`` chose on a GPU.

    Returns:
        The choice; None if nothing is measured: the recipe names an engine, or the run is not on a GPU, has several
        processes, or ends soon.

    Raises:
        RunError: Trying an engine left the GPU unusable.
    """
    if trainer.recipe.train.engine != "auto" or trainer.device.type != "cuda":
        return None
    if trainer.processes.size > 1:
        log("Engine eager: CUDA graphs need a run with a single process.")
        return None
    if trainer.total_steps - trainer.steps < MIN_STEPS:
        log("Engine eager: measuring other engines would take about as many steps as are left.")
        return None
    choice = measure_engines(trainer)
    log(choice.sentence)
    return choice


def measure_engines(trainer: Trainer) -> EngineChoice:
    """Time each engine from the same state, and use the fastest; training continues as if nothing had happened.

    Raises:
        RunError: Trying an engine left the GPU unusable.
    """
    seconds: dict[str, float] = {}
    left_out: dict[str, str] = {}
    with trainer.rehearsal():
        trainer.use_engine("eager")
        seconds["eager"] = _seconds_a_step(trainer)
    for name in CAPTURING:
        left = (trainer.total_steps - trainer.steps) * min(seconds.values())
        if name.startswith("compile") and trainer.recipe.train.share_fakes:
            left_out[name] = "compiled phases that share fakes generate them twice"
            continue
        if name.startswith("compile") and left < COMPILED_SECONDS:
            left_out[name] = "the run is too short for compiling to pay off"
            continue
        result = _tried(trainer, name)
        if isinstance(result, str):
            left_out[name] = result
        else:
            seconds[name] = result
    fastest = min(seconds, key=lambda name: seconds[name])
    best = fastest if seconds[fastest] < MARGIN * seconds["eager"] else "eager"
    trainer.use_engine(best)
    _free()
    return EngineChoice(best, seconds, left_out)


def recorded_engine(info: Mapping[str, Any], device: torch.device, processes: int) -> str | None:
    """The engine that a run recorded, as in ``train.engine``; None if the resumed run cannot use it.

    Args:
        info: The content of run.json.
        device: The device that the run continues on; if it is of another kind than before, ``auto`` chooses again.
        processes: Number of processes that continue the run.
    """
    name = str(info.get("engine")).partition(" ")[0]  # without the phases that ran eagerly
    before = str((info.get("environment") or {}).get("device")).partition(":")[0]
    if name not in get_args(EngineName) or before != device.type or (processes > 1 and name != "eager"):
        return None
    return name


def _tried(trainer: Trainer, name: str) -> float | str:
    """Seconds per step with this engine, or why it is left out."""
    messages: list[str] = []
    try:
        with trainer.rehearsal():
            try:
                trainer.use_engine(name, messages.append)
                seconds = _seconds_a_step(trainer)
                if trainer.engine.name == "eager":
                    return messages[0].rstrip(".") if messages else "every phase ran eagerly"
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
    for _ in range(WARM_UP + 2):  # capturing and compiling happen in the first of these
        trainer.step()
    started_at = _now(trainer.device)
    trainer.step()
    steps = max(1, min(BLOCK_STEPS, int(BLOCK_SECONDS / max(_now(trainer.device) - started_at, 1e-9))))
    times = []
    for _ in range(BLOCKS):
        started_at = _now(trainer.device)
        for _ in range(steps):
            trainer.step()
        times.append((_now(trainer.device) - started_at) / steps)
    return statistics.median(times)


def _now(device: torch.device) -> float:
    """The time, once the device has finished its queued work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def _free() -> None:
    """Free the memory of graphs that are no longer used."""
    gc.collect()
    torch.cuda.empty_cache()
