"""What a run measures where it trains: the fastest engine on a GPU, and the number of CPU threads.

Its measuring steps are undone bit for bit. Engines and numbers of threads round differently, so a resumed run keeps its
recorded engine, and repeats each recorded change of threads at the same step. An operation's threads wait for one
another at its end: if another program uses a core, a step with a thread on every core takes many times as long.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, perf_counter
from typing import Any, Final, TypeVar, get_args

import torch

from ganzoo.config.schema import EngineName
from ganzoo.errors import GanzooError, RunError
from ganzoo.training.device import threads_set_by_user, use_available_cores
from ganzoo.training.engines import CAPTURING, LONGEST_REASON, WARM_UP
from ganzoo.training.trainer import Trainer

K = TypeVar("K", int, str)
MARGIN: Final = 0.9  # a new engine or number of threads must take less than this share of the current one's time
MIN_STEPS: Final = 200  # a run with fewer steps left stays eager: measuring takes about as many
COMPILED_SECONDS: Final = 600.0  # compiling, a minute or more, is tried if the remaining steps would take longer
BLOCKS, BLOCK_STEPS, BLOCK_SECONDS = 6, 16, 0.5  # the median over blocks of steps; seconds at most, in total


def settle_engine(trainer: Trainer, log: Callable[[str], None] = lambda sentence: None) -> dict[str, Any] | None:
    """Choose the engine for ``train.engine=auto`` on a GPU, and use it; returns what was measured, if anything was."""
    if trainer.recipe.train.engine != "auto" or trainer.device.type != "cuda":
        return None
    if trainer.processes.size > 1:
        log("Engine eager: CUDA graphs need a run with a single process.")
        return None
    if trainer.total_steps - trainer.steps < MIN_STEPS:
        log("Engine eager: measuring other engines would take about as many steps as are left.")
        return None
    choice = measure_engines(trainer)
    times = [f"{milliseconds:.3g} ms with {name}" for name, milliseconds in choice["milliseconds_a_step"].items()]
    reasons = [f" Not {name}: {reason}." for name, reason in choice["left_out"].items()]
    log(f"Engine {choice['engine']}: a step takes {', '.join(times)}.{''.join(reasons)}")
    return choice


def measure_engines(trainer: Trainer) -> dict[str, Any]:
    """Time each engine from the same state, and use the fastest; returns the choice as JSON, for run.json."""
    left_out: dict[str, str] = {}
    with trainer.rehearsal():
        trainer.use_engine("eager")
        seconds = {"eager": _seconds_a_step(trainer)}
    for name in CAPTURING:
        left = (trainer.total_steps - trainer.steps) * min(seconds.values())
        if name.startswith("compile") and trainer.recipe.train.share_fakes:
            left_out[name] = "compiled phases that share fakes generate them twice"
        elif name.startswith("compile") and left < COMPILED_SECONDS:
            left_out[name] = "the run is too short for compiling to pay off"
        else:
            _try(trainer, name, seconds, left_out)
    best = _choice(seconds, "eager")
    trainer.use_engine(best)
    return {
        "engine": best,
        "milliseconds_a_step": {name: round(1e3 * one, 4) for name, one in seconds.items()},
        "left_out": left_out,
    }


def recorded_engine(info: Mapping[str, Any], device: torch.device, processes: int) -> str | None:
    """The engine that run.json records, as in ``train.engine``; None if the resumed run cannot use it."""
    name = str(info.get("engine")).partition(" ")[0]  # without the phases that ran eagerly
    before = str((info.get("environment") or {}).get("device")).partition(":")[0]
    if name not in get_args(EngineName) or before != device.type or (processes > 1 and name != "eager"):
        return None
    return name


def _try(trainer: Trainer, name: str, seconds: dict[str, float], left_out: dict[str, str]) -> None:
    """Note the seconds per step with this engine, or why it is left out."""
    messages: list[str] = []
    try:
        with trainer.rehearsal():
            try:
                trainer.use_engine(name, messages.append)
                measured = _seconds_a_step(trainer)
                if trainer.engine.name == "eager":
                    left_out[name] = messages[0].rstrip(".") if messages else "every phase ran eagerly"
                else:
                    seconds[name] = measured
            except Exception as error:
                sentence = error.sentence if isinstance(error, GanzooError) else f"{type(error).__name__}: {error}"
                left_out[name] = " ".join(sentence.split())[:LONGEST_REASON].rstrip(".")
            finally:
                trainer.use_engine("eager")
    except (RuntimeError, GanzooError) as error:
        raise RunError(
            f"Trying the engine '{name}' left the GPU unusable: {' '.join(str(error).split())[:LONGEST_REASON]}.",
            "Train with train.engine=eager.",
        ) from error


def _seconds_a_step(trainer: Trainer) -> float:
    def block() -> None:
        for _ in range(BLOCK_STEPS):
            trainer.step()
        if trainer.device.type == "cuda":
            torch.cuda.synchronize(trainer.device)

    for _ in range(WARM_UP + 2):  # capturing and compiling happen in the first of these
        trainer.step()
    return statistics.median(_timed(block, BLOCK_SECONDS, BLOCKS)) / BLOCK_STEPS


SLOW = 1.5  # measure again if steps take this many times as long as when last measured
GIVE_UP_RATIO = 3.0  # smaller numbers are not measured if a step takes this many times as long as with the best one
MEASURED_SECONDS, MEASURED_STEPS = 0.1, 8  # for each number, whichever ends first, but at least one step
RECENT = 8  # steps that decide whether steps have become slow
# Measuring takes at most 1 / SHARE of a run's time, unless steps keep becoming slow. It is repeated after at most
# LONGEST_WAIT seconds, or SHARE times its cost if that is longer; if steps become slow, after SHARE / 4 times its cost.
SHARE, LONGEST_WAIT = 40, 120.0


def settle_threads() -> None:
    """Choose the number of threads for scoring, unless the environment sets it: 0.1 seconds for each number tried."""
    use_available_cores()
    most = torch.get_num_threads()
    if threads_set_by_user() or most == 1:
        return
    left, right = torch.ones(64, 512), torch.ones(512, 512)
    times: dict[int, float] = {}
    for threads in _numbers(most):
        torch.set_num_threads(threads)
        times[threads] = statistics.median(_timed(lambda: torch.mm(left, right).tanh_(), MEASURED_SECONDS, 10_000))
    torch.set_num_threads(_choice(times, most))


def _numbers(most: int) -> list[int]:
    """All, all but one (for one other busy program), and powers of two: the most first."""
    return sorted({most, max(1, most - 1), *(2**k for k in range(most.bit_length()) if 2**k < most)}, reverse=True)


def _choice(times: Mapping[K, float], current: K) -> K:
    """The fastest, if it is clearly faster than the current one."""
    best = min(times, key=lambda key: times[key])
    return best if times[best] < MARGIN * times.get(current, float("inf")) else current


def _timed(step: Callable[[], object], seconds: float, most: int) -> list[float]:
    """Seconds that each call takes, until ``seconds`` in total; without the first, which wakes the threads."""
    times: list[float] = []
    while len(times) < most and sum(times) < seconds:
        started_at = perf_counter()
        step()
        times.append(perf_counter() - started_at)
    return times[1:] or times


class ThreadTuner:
    """Chooses how many CPU threads a run uses, and changes the number when the machine becomes busy or free."""

    def __init__(
        self,
        trainer: Trainer,
        planned: Sequence[tuple[int, int]] = (),  # an interrupted run's changes: images shown, threads from then on
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._trainer, self._planned, self._log = trainer, sorted(planned), log
        self.most = torch.get_num_threads()
        self._adapts = (
            trainer.recipe.train.threads == "auto"
            and not threads_set_by_user()
            and trainer.processes.size == 1
            and trainer.device.type == "cpu"
            and trainer.engine.name == "eager"
            and self.most > 1
        )
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._expected = float("inf")
        self._due = self._not_before = self._wait = 0.0  # measured after the first step, which allocates memory

    def after_step(self, seconds: float) -> int | None:
        """Record how long a step took; returns the number of threads from now on if it changes."""
        current = torch.get_num_threads()
        if self._planned:  # repeat what the run did at this step before it was interrupted
            threads = current
            while self._planned and self._planned[0][0] <= self._trainer.images:
                threads = self._planned.pop(0)[1]
            torch.set_num_threads(threads)
            return threads if threads != current else None
        if not self._adapts:
            return None
        self._recent.append(seconds)
        now = monotonic()
        slow = len(self._recent) == RECENT and sum(self._recent) > SLOW * RECENT * self._expected
        if (slow and now > self._not_before) or now > self._due:
            return self._measure(current)
        return None

    def _measure(self, current: int) -> int | None:
        started_at = monotonic()
        times: dict[int, float] = {}
        for threads in _numbers(self.most):  # the most first: with few, a large network's step takes very long
            torch.set_num_threads(threads)
            # Each starts from the same step, because phases that do not run in every step make some steps longer.
            with self._trainer.rehearsal():
                times[threads] = statistics.median(_timed(self._trainer.step, MEASURED_SECONDS, MEASURED_STEPS))
            if times[threads] > GIVE_UP_RATIO * min(times.values()):
                break  # fewer would be slower still
        chosen = _choice(times, current)
        torch.set_num_threads(chosen)
        now = monotonic()
        cost = now - started_at
        self._wait = SHARE * cost if chosen != current else max(SHARE * cost, min(2 * self._wait, LONGEST_WAIT))
        self._not_before = now + SHARE / 4 * cost
        self._due = now + self._wait if chosen < self.most else float("inf")
        self._expected = times[chosen]
        self._recent.clear()
        if chosen == current:
            return None
        if chosen == self.most:
            self._log(f"Training with all {chosen} CPU threads again.")
        else:
            ratio = times[self.most] / times[chosen]
            self._log(
                f"Training with {chosen} of {self.most} CPU threads: with all of them, a step now takes {ratio:.1f} "
                "times as long, because other programs use this machine or the networks are small."
            )
        return chosen
