"""The number of CPU threads, adapted to how busy the machine is.

The threads of one operation wait for one another at its end, thousands of times a second. If another program uses one
of the cores, each wait lasts until the system schedules the late thread: with a thread on every core, a step takes many
times as long; with fewer threads, it slows down only in proportion. So a run times its own steps with various numbers
of threads: once at its start, again when steps become slow, and from time to time while it uses fewer threads than it
could.

Timing does not change the weights, since those steps are undone. A different number of threads does, in the last bits,
because sums are added in another order; the run records each change with its step, and a resumed run repeats it.
"""

from __future__ import annotations

import statistics
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from time import monotonic, perf_counter

import torch

from ganzoo.training.device import threads_set_by_user, use_available_cores
from ganzoo.training.trainer import Trainer

MARGIN = 0.9
"""Another number of threads is chosen if its steps take less than this share of the current number's time."""
SLOW = 1.5
"""The numbers of threads are measured again if steps take this many times as long as when last measured."""
GIVE_UP_RATIO = 3.0
"""A number of threads, and smaller ones, are not measured further if a step takes this many times as long as with the
best number."""
MEASURED_SECONDS, MEASURED_STEPS = 0.1, 8
"""A number of threads is measured over this time or this many steps, whichever ends first, but at least one step."""
RECENT = 8
"""The number of most recent steps, which decide whether steps have become slow."""
WARM_UP = 3
"""Steps before the first measurement: the first ones allocate memory."""
SHARE, LONGEST_WAIT = 40, 120.0
"""Measuring takes at most 1 / ``SHARE`` of a run's time, unless steps keep becoming slow. It is repeated after at most
``LONGEST_WAIT`` seconds, or ``SHARE`` times its cost if that is longer; if steps become slow, after ``SHARE / 4`` times
its cost."""


def settle_threads() -> None:
    """Choose the number of threads for work other than training steps, such as scoring, by a short measurement.

    It takes a tenth of a second for each number tried, and no time if the environment sets the number or there is only
    one core.
    """
    use_available_cores()
    most = torch.get_num_threads()
    if threads_set_by_user() or most == 1:
        return
    left, right = torch.ones(64, 512), torch.ones(512, 512)
    times: dict[int, float] = {}
    for threads in _ladder(most):
        torch.set_num_threads(threads)
        times[threads] = statistics.median(_timed(lambda: torch.mm(left, right).tanh_(), MEASURED_SECONDS, 10_000))
    torch.set_num_threads(_choice(times, most))


def _ladder(most: int) -> list[int]:
    """1, 2, 4, ..., all but one (for one other busy program), and all."""
    return sorted({most, max(1, most - 1), *(2**k for k in range(most.bit_length()) if 2**k < most)})


def _choice(times: Mapping[int, float], current: int) -> int:
    best = min(times, key=lambda threads: times[threads])
    return best if times[best] < MARGIN * times.get(current, float("inf")) else current


def _timed(step: Callable[[], object], seconds: float, most: int, limit: float = float("inf")) -> list[float]:
    """Seconds that each call takes; the first one is left out if there are others, because it wakes the threads.

    Args:
        step: The function to call.
        seconds: The most time for all calls.
        most: The most calls.
        limit: A call that takes this many seconds is the last one.
    """
    times: list[float] = []
    while len(times) < most and sum(times) < seconds and max(times, default=0.0) < limit:
        started_at = perf_counter()
        step()
        times.append(perf_counter() - started_at)
    return times[1:] or times


class ThreadTuner:
    """Chooses how many CPU threads a run uses, and changes the number when the machine becomes busy or free.

    It changes nothing if the recipe or the environment sets the number, nor with several processes, on devices other
    than the CPU, or with engines that would have to prepare their steps again.

    Args:
        trainer: A trainer at its first step, or restored.
        most: The most threads to use; by default, the current number.
        planned: Changes that an interrupted run made after the checkpoint: images shown, and the number of threads
            from then on. They are repeated at the same steps; nothing is measured before the last of them.
        log: Called with a message for each change.

    Attributes:
        most: As above.
    """

    def __init__(
        self,
        trainer: Trainer,
        most: int | None = None,
        planned: Sequence[tuple[int, int]] = (),
        log: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._trainer = trainer
        self._planned = sorted(planned)
        self._log = log
        self.most = most or torch.get_num_threads()
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
        self._due = float("inf")
        self._not_before = 0.0
        self._wait = 0.0
        self._left_to_warm_up = WARM_UP

    def after_step(self, seconds: float) -> int | None:
        """Record a step.

        Args:
            seconds: How long it took.

        Returns:
            The number of threads from now on if it changes, otherwise None.
        """
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
        if self._left_to_warm_up:
            self._left_to_warm_up -= 1
            return None if self._left_to_warm_up else self._measure(current)
        now = monotonic()
        slow = len(self._recent) == RECENT and sum(self._recent) > SLOW * RECENT * self._expected
        if (slow and now > self._not_before) or now > self._due:
            return self._measure(current)
        return None

    def _measure(self, current: int) -> int | None:
        started_at = monotonic()
        times: dict[int, float] = {}
        # The most first: with few threads, a step of large networks on many cores takes very long.
        for threads in reversed(_ladder(self.most)):
            limit = GIVE_UP_RATIO * min(times.values(), default=float("inf"))
            if times and times[min(times)] > limit:
                break  # fewer would be slower still
            torch.set_num_threads(threads)
            # Each starts from the same step, because phases that do not run in every step make some steps longer.
            with self._trainer.rehearsal():
                times[threads] = statistics.median(_timed(self._trainer.step, MEASURED_SECONDS, MEASURED_STEPS, limit))
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
