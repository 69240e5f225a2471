"""Equal tuning: every row of a study finds its own settings, at full length and on validation images.

Each combination of a row's values is trained with one seed. If the best lies at an end of a range, the range is
extended there, until the best lies inside. The two best are then trained with three seeds, and the better of them wins.
Runs compare by the mean of their log scores, by the measures of the study's first claim.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from ganzoo.registry.loading import Zoo
from ganzoo_studies.cells import CellFound, recorded
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import TUNING_SEEDS, Place, Study, combinations, is_range

EXTENSIONS: Final = 2
"""Values by which a range is extended at most: a decade, if its values are half-decades."""


@dataclass(frozen=True)
class Tuned:
    """A row's search for its settings in one of the study's settings, as far as it has come."""

    trials: tuple[CellFound, ...]  # with their changes to the row
    winner: CellFound | None  # None until the search ends, or if every trial failed
    jobs: Sequence[Job] = ()  # to train next; none if the search has ended
    at_end: tuple[str, ...] = ()  # keys of ranges whose best value is still their first or last


def tune(study: Study, place: Place, ledger: Ledger, zoo: Zoo) -> Tuned:
    """What a row's search has found so far, and what it needs next: the same for every worker, from the records."""
    original = study.ranges(place[0])
    ranges, tried = original, dict[tuple[str, ...], tuple[CellFound, dict[str, Any]]]()
    seeds, measures = 1 if study.is_quick else TUNING_SEEDS, study.deciding

    def score(trial: CellFound, seeds: int) -> float:
        logs = trial.logs(measures, zoo)[:, :seeds]
        return -math.inf if np.isnan(logs).any() else float(logs.mean())

    while True:
        for changes, point in combinations(ranges).items():
            if changes not in tried:
                tried[changes] = recorded(study.on_validation(*place, changes, zoo), ledger), point
        trials = tuple(trial for trial, _ in tried.values())
        if len(trials) == 1:
            return Tuned(trials, trials[0])
        if lacking := [one.jobs[0] for one in trials if one.in_order(measures) < 1]:
            return Tuned(trials, None, lacking)
        two = sorted(trials, key=partial(score, seeds=1), reverse=True)[:2]
        if math.isinf(score(two[0], 1)):
            return Tuned(trials, None)
        lacking = [job for one in two for job in one.jobs[one.in_order(measures) : seeds]]
        leader = two[0] if lacking else max(two, key=partial(score, seeds=seeds))
        wider = {key: _extended(values, tried[leader.changes][1][key]) for key, values in ranges.items()}
        at_end = tuple(key for key, values in ranges.items() if len(wider[key]) > len(values))
        if extended := [key for key in at_end if len(wider[key]) <= len(original[key]) + EXTENSIONS]:
            ranges = {**ranges, **{key: wider[key] for key in extended}}
        else:
            return Tuned(trials, None if lacking else leader, lacking, at_end)


def _extended(values: Sequence[Any], best: Any) -> tuple[Any, ...]:
    """Three or more numbers with one more beyond the end that is best, in their own ratio; other values unchanged."""
    if is_range(values) and best == values[0] and 0 < (below := _next(*values[2::-1])) < best:
        return (below, *values)
    return (*values, _next(*values[-3:])) if is_range(values) and best == values[-1] else tuple(values)


def _next(first: float, second: float, third: float) -> float:
    """The fourth of a geometric sequence, or of half-decades such as 0.001, 0.003, 0.01."""
    number = second * third / first
    return round(number) if isinstance(third, int) else float(f"{number:.3g}")
