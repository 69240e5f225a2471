"""What the records of a results folder say about a study: its cells' runs and scores, what a search found, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from ganzoo.api.metric import Scale
from ganzoo.registry.loading import Zoo
from ganzoo.runs.scores import is_own
from ganzoo.studies.matrix import Job
from ganzoo.studies.records import Ledger, Score, ScoredRun
from ganzoo.studies.study import EVERYWHERE, Cell, Claim, Measure, Study, Trial
from ganzoo.studies.verdicts import Comparison, Verdict, judge

Place = tuple[str, str]
"""A row and a setting."""


@dataclass(frozen=True)
class Values:
    """A measure of a row's seeds.

    Attributes:
        by_seed: The value of each run, None where a run has none: it failed, or never reached the mark.
        scale: How two of them compare.
    """

    by_seed: Mapping[int, float | None]
    scale: Scale = "ratio"

    @property
    def known(self) -> list[float]:
        """Those that there are."""
        return [value for value in self.by_seed.values() if value is not None]

    @property
    def failed(self) -> int:
        """Runs without a value."""
        return len(self.by_seed) - len(self.known)

    @property
    def mean(self) -> float | None:
        """The mean; None without a value."""
        return fmean(self.known) if self.known else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation between seeds; None below two."""
        return stdev(self.known) if len(self.known) > 1 else None

    @property
    def noise(self) -> float | None:
        """The factor by which seeds scatter: the exponential of the standard deviation of logarithms."""
        if len(self.known) < 2 or min(self.known) <= 0:
            return None
        return math.exp(stdev(logarithm(value, self.scale) for value in self.known))


@dataclass(frozen=True)
class CellFound:
    """A cell and its runs.

    Attributes:
        cell: What is asked for.
        runs: Those that are recorded, by seed.
    """

    cell: Cell
    runs: Mapping[int, ScoredRun]

    @property
    def planned(self) -> int:
        """Runs that the study asks for."""
        return len(self.cell.jobs)

    def values(self, measure: Measure, scale: Scale = "ratio") -> Values:
        """A measure of every recorded run; ``scale`` is the measure's, where values are compared."""
        return Values({seed: value_of(run, measure) for seed, run in self.runs.items()}, scale)


@dataclass(frozen=True)
class TrialFound:
    """What a search tried.

    Attributes:
        trial: The settings.
        value: The mean of the first measure on the validation images; None where a run is missing or failed.
        done: Whether all its runs are recorded.
    """

    trial: Trial
    value: float | None
    done: bool


@dataclass(frozen=True)
class Found:
    """A study with everything recorded of it.

    Attributes:
        study: The study.
        cells: In the order of settings and rows; without rows whose search has not ended, or found nothing.
        trials: Of its search.
        winners: The settings that the search found, by row and setting.
    """

    study: Study
    cells: tuple[CellFound, ...]
    trials: tuple[TrialFound, ...]
    winners: Mapping[Place, TrialFound]

    @property
    def runs(self) -> list[ScoredRun]:
        """Every run that it compares."""
        return [run for cell in self.cells for run in cell.runs.values()]

    @property
    def planned(self) -> int:
        """Runs that it asks for."""
        return sum(cell.planned for cell in self.cells)

    @property
    def is_searching(self) -> bool:
        """Whether a trial is still to be made."""
        return not all(trial.done for trial in self.trials)

    @property
    def is_whole(self) -> bool:
        """Whether every training that it asks for is recorded."""
        return not self.is_searching and len(self.runs) >= self.planned

    @property
    def without_winner(self) -> list[Place]:
        """Rows and settings of which every trial failed, so that nothing was trained."""
        if self.is_searching:
            return []
        tried = dict.fromkeys((one.trial.row, one.trial.setting) for one in self.trials)
        return [one for one in tried if one not in self.winners]

    def cell(self, row: str, setting: str) -> CellFound | None:
        """One of them."""
        return next((one for one in self.cells if (one.cell.row, one.cell.setting) == (row, setting)), None)


def find(study: Study, ledger: Ledger, zoo: Zoo) -> Found:
    """Look up a study's trainings."""
    better = study.measures[0].better(zoo)
    trials = tuple(_trial(trial, study.measures[0], ledger) for trial in study.trials(zoo))
    winners: dict[Place, TrialFound] = {}
    if all(trial.done for trial in trials):
        for one in trials:
            place = one.trial.row, one.trial.setting
            best = winners.get(place)
            if one.value is not None and (best is None or _is_better(one.value, best.value, better)):
                winners[place] = one
    changes = {place: winner.trial.changes for place, winner in winners.items()}
    cells = tuple(
        CellFound(cell, {job.seed: run for job in cell.jobs if (run := _recorded(job, ledger)) is not None})
        for cell in study.cells(zoo, changes)
        if not study.is_tuned(cell.row) or (cell.row, cell.setting) in winners
    )
    return Found(study, cells, trials, winners)


def _trial(trial: Trial, measure: Measure, ledger: Ledger) -> TrialFound:
    runs = [_recorded(job, ledger) for job in trial.jobs]
    values = [None if run is None else value_of(run, measure) for run in runs]
    known = [value for value in values if value is not None]
    return TrialFound(trial, fmean(known) if len(known) == len(values) else None, None not in runs)


def _is_better(value: float, than: float | None, better: str) -> bool:
    return than is None or (value < than if better == "lower" else value > than)


def _recorded(job: Job, ledger: Ledger) -> ScoredRun | None:
    return ledger.find(job.digest, job.dataset, job.seed)


def value_of(run: ScoredRun, measure: Measure) -> float | None:
    """What a run measures; None where it failed, was not scored, or never got there."""
    if run.record.status != "done":
        return None
    if measure.is_final:
        score = run.score(measure.metric)
        return score["value"] if score is not None and is_own(score, run.record.protocol) else None
    for score in (points := curve(run, measure.metric)):
        if (measure.below is not None and score["value"] < measure.below) or (
            measure.above is not None and score["value"] > measure.above
        ):
            return float(score["seconds"])
    key, most = ("seconds", measure.at_seconds) if measure.at_seconds else ("images", measure.at_images)
    within = [score for score in points if most is not None and score[key] <= most]
    return float(within[-1]["value"]) if within else None


def curve(run: ScoredRun, metric: str) -> list[Score]:
    """A run's own scores by a metric while it trained, of the weights that it reports, in order."""
    final = run.score(metric)
    own = [
        score
        for score in run.curve
        if final is not None
        and (score["metric"], score["weights"]) == (metric, final["weights"])
        and score.get("seconds") is not None
        and is_own(score, run.record.protocol)
    ]
    return sorted(own, key=lambda score: int(score["images"]))


def verdicts(all_found: Sequence[Found], zoo: Zoo) -> list[list[Verdict]]:
    """The verdicts of every claim of every study, corrected for how many there are together."""
    judged = iter(judge([_comparison(found, claim, zoo) for found in all_found for claim in found.study.claims]))
    return [[next(judged) for _ in found.study.claims] for found in all_found]


def _comparison(found: Found, claim: Claim, zoo: Zoo) -> Comparison:
    measure, other = found.study.measure(claim.on), found.study.measure(claim.than_on or claim.on)
    settings = (claim.at,) if claim.at is not None else found.study.setting_names
    sides = [(claim.better, measure), (claim.than, other)]
    try:
        better, than = (_logs(found, row, settings, one, zoo) for row, one in sides)
    except ValueError as error:
        return Comparison((), (), trouble=str(error))
    # Whoever looks after each run, and stops at a difference, finds differences that are not there.
    waits = ""
    if found.is_searching:
        waits = "Its search has not ended."
    elif not found.is_whole:
        waits = f"It waits for all runs of the study: {len(found.runs)} of {found.planned} are there."
    elif missing := sum(_unscored(found, row, settings, one) for row, one in sides):
        waits = f"It waits for scores: {missing} of the finished runs {'has' if missing == 1 else 'have'} none yet."
    lost = [row for row, _ in sides for setting in settings if (row, setting) in found.without_winner]
    trouble = f"All trials of {lost[0]} failed." if lost else ""
    if any(one.is_clocked for _, one in sides):
        runs = [run for row, _ in sides for setting in settings for run in _runs(found, row, setting)]
        if len({run.record.hardware for run in runs}) > 1:
            trouble = "Its runs were made on different machines, whose times cannot be compared."
    return Comparison(
        better.values,
        than.values,
        better_failed=better.failed,
        than_failed=than.failed,
        better_rounding=better.rounding,
        than_rounding=than.rounding,
        trouble=trouble,
        waits=waits,
    )


def _runs(found: Found, row: str, setting: str) -> list[ScoredRun]:
    cell = found.cell(row, setting)
    return [] if cell is None else list(cell.runs.values())


def _unscored(found: Found, row: str, settings: Sequence[str], measure: Measure) -> int:
    """Finished runs of a row that lack a final score they were asked for, such as one of a measure that was added."""
    if not measure.is_final:
        return 0
    cells = [cell for setting in settings if (cell := found.cell(row, setting)) is not None]
    return sum(
        run.record.status == "done" and value_of(run, measure) is None
        for cell in cells
        for run in cell.runs.values()
        if measure.metric in cell.cell.jobs[0].recipe.evaluate.metrics
    )


@dataclass(frozen=True)
class _Logs:
    """A row's scores as a claim compares them.

    Attributes:
        values: Logarithms, larger being better, one for each seed.
        failed: Runs that have none.
        rounding: The least standard deviation that the values have, which the measure may have rounded away.
    """

    values: Sequence[float] = ()
    failed: int = 0
    rounding: float = 0.0


def _logs(found: Found, row: str, settings: Sequence[str], measure: Measure, zoo: Zoo) -> _Logs:
    """A row's scores.

    Over several settings, a seed counts with the mean of its logarithms, if it has a run in each.

    Raises:
        ValueError: A score is negative, in a sentence.
    """
    cells = [found.cell(row, setting) for setting in settings]
    if any(cell is None for cell in cells):
        return _Logs()
    sign = 1 if measure.better(zoo) == "higher" else -1
    scale = measure.scale(zoo)
    runs = [cell.runs for cell in cells if cell is not None]
    logs, rounded, failed = [], [], 0
    for seed in sorted(set(runs[0]).intersection(*runs[1:])):
        values = [value_of(one[seed], measure) for one in runs]
        known = [value for value in values if value is not None]
        if any(value < 0 for value in known):
            raise ValueError(f"Scores of {measure.name} are negative here, and have no logarithm.")
        if len(known) == len(values):
            drawn = [int(one[seed].record.protocol.get("n_fake", 10_000)) for one in runs]
            logs.append(sign * fmean(logarithm(value, scale, n) for value, n in zip(known, drawn, strict=True)))
            if scale == "count":
                # What was counted may lie anywhere within a step: evenly spread, that is a deviation of 1/√12.
                rounded.append(fmean(1 / max(value, 1) ** 2 / 12 for value in known) / len(known))
        else:
            failed += 1
    return _Logs(logs, failed, math.sqrt(fmean(rounded)) if rounded else 0.0)


def logarithm(value: float, scale: Scale, n: int = 10_000) -> float:
    """What scores are compared by: the logarithm of a score, or of a share's odds.

    A count of none counts as one; of another score, none is 1 / n, and all of a share is one sample less than all.

    Args:
        value: At least 0.
        scale: Of its metric.
        n: Samples that were scored.
    """
    if scale == "share":
        share = min(max(value, 1 / n), 1 - 1 / n)
        return math.log(share / (1 - share))
    return math.log(value or (1 if scale == "count" else 1 / n))


def in_order(study: Study, cells: Sequence[Cell]) -> Iterator[Job]:
    """The trainings seed by seed, so that a study that is stopped early has said something of every row."""
    for index in range(max(study.seeds_of(row) for row in study.rows)):
        for cell in cells:
            if index < len(cell.jobs):
                yield cell.jobs[index]


def place(row: str, setting: str) -> str:
    """A cell in words."""
    return row if setting == EVERYWHERE else f"{row}, {setting}"
