"""A row of a study in a setting with its recorded runs, and their values by the study's measures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev

import numpy as np

from ganzoo.api.metric import Scale
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import is_own, own_protocol
from ganzoo_studies.records import Ledger, Score, ScoredRun
from ganzoo_studies.study import Cell, Measure
from ganzoo_studies.verdicts import LOOKS, Logs, without_collapsed


@dataclass(frozen=True)
class Values:
    """A measure's values for a row, one for each seed."""

    by_seed: Mapping[int, float | None]  # None if the run failed, was not scored, or never reached the threshold
    scale: Scale = "ratio"  # how two of the values compare
    n: int = 10_000  # number of samples or, for a share of real images, of those: a share of 0 counts as 1 / n
    applies: bool = True  # False if the measure needs labels or an encoder that the row lacks

    @property
    def known(self) -> list[float]:
        """The values that are not None."""
        return [value for value in self.by_seed.values() if value is not None]

    @property
    def failed(self) -> int:
        """Number of runs that should have a value but have none."""
        return len(self.by_seed) - len(self.known) if self.applies else 0

    @property
    def mean(self) -> float | None:
        """The mean; None if there are no values."""
        return fmean(self.known) if self.known else None

    @property
    def deviation(self) -> float | None:
        """The standard deviation between seeds; None for fewer than two values."""
        return stdev(self.known) if len(self.known) > 1 else None

    def log(self, seed: int) -> float:
        """The logarithm of a value (of a share, of its odds); NaN if it is not known, or negative."""
        value = self.by_seed.get(seed)
        return math.nan if value is None or value < 0 else logarithm(value, self.scale, self.n)

    @property
    def mean_log(self) -> float | None:
        """The mean logarithm of the known values; None if there are none, or one is negative."""
        logs = [self.log(seed) for seed, value in self.by_seed.items() if value is not None]
        return None if not logs or any(map(math.isnan, logs)) else fmean(logs)


@dataclass(frozen=True, kw_only=True, eq=False)
class CellFound(Cell):
    """A cell and its recorded runs, by seed."""

    runs: Mapping[int, ScoredRun]

    def first(self, n: int) -> CellFound:
        """The cell with the runs of its first ``n`` seeds alone."""
        seeds = {job.seed for job in self.jobs[:n]}
        return replace(self, runs={seed: run for seed, run in self.runs.items() if seed in seeds})

    def values(self, measure: Measure, zoo: Zoo | None = None, hardware: str | None = None) -> Values:
        """A measure's value for every recorded run, or only for those on the given hardware.

        Without ``zoo``, the values are not to be compared.
        """
        recipe = self.jobs[0].recipe
        runs = {seed: run for seed, run in self.runs.items() if hardware in (None, run.record.hardware)}
        by_seed = {seed: self.value(run, measure) for seed, run in runs.items()}
        applies = measure.metric in recipe.evaluate.metrics
        if zoo is None:
            return Values(by_seed, applies=applies)
        n = recipe.evaluate.samples
        if measure.share_of(zoo) == "real images":
            scores = [score for run in runs.values() for score in self.own_scores(run, measure.metric)]
            n = max((score["protocol"].get("n_real") or 0 for score in scores), default=0) or n
        return Values(by_seed, measure.scale(zoo), n, applies)

    def value(self, run: ScoredRun, measure: Measure) -> float | None:
        """A run's value; None if it failed, was not scored, or never reached the threshold."""
        if run.record.status != "done":
            return None
        if not measure.is_time:
            final = self.final_score(run, measure.metric)
            return None if final is None else float(final["value"])
        curve = self.curve(run, measure.metric)
        return next((float(score["seconds"]) for score in curve if measure.is_reached(score["value"])), None)

    def is_unscored(self, run: ScoredRun, measure: Measure) -> bool:
        """Whether a finished run lacks a score it should have, for example after a measure was added."""
        recipe = self.jobs[0].recipe
        if run.record.status != "done" or measure.metric not in recipe.evaluate.metrics:
            return False
        if not measure.is_time:
            return self.value(run, measure) is None
        # A measure that was added later has only a final score, not a curve.
        every = recipe.evaluate.every_images
        return every is not None and len(self.curve(run, measure.metric)) < run.record.images // every

    def in_order(self, measures: Sequence[Measure]) -> int:
        """Number of its first runs, without a gap, that did not crash and have been scored."""
        for index, job in enumerate(self.jobs):
            run = self.runs.get(job.seed)
            if run is None or run.record.has_crashed or any(self.is_unscored(run, one) for one in measures):
                return index
        return len(self.jobs)

    def logs(self, measures: Sequence[Measure], zoo: Zoo) -> Logs:
        """Log scores (measures, seeds), larger is better, with NaN for runs without one.

        Seeds count in order, up to the first that is not recorded, crashed or lacks a score.
        """
        seeds = [job.seed for job in self.jobs[: self.in_order(measures)]]
        values = [(1 if one.better(zoo) == "higher" else -1, self.values(one, zoo)) for one in measures]
        rows = [[sign * one.log(seed) for seed in seeds] for sign, one in values]
        return np.array(rows).reshape(len(measures), len(seeds))

    def from_real(self, measures: Sequence[Measure], zoo: Zoo) -> float | None:
        """How many times worse it scores than real images, as a logarithm; None where that is unknown."""
        gaps = []
        for one in measures:
            values = self.values(one, zoo)
            floors = [score["floor"] for run in self.runs.values() if (score := self.final_score(run, one.metric))]
            if one.is_time or values.mean_log is None or None in floors:
                return None
            sign = -1 if one.better(zoo) == "higher" else 1
            gaps.append(sign * (values.mean_log - logarithm(floors[0], values.scale, values.n)))
        return fmean(gaps)

    def extractors(self, measure: Measure) -> set[tuple[str, str]]:
        """The metric, and the digest of each version of its extractor that scored the runs."""
        return {
            (measure.metric, str(score["protocol"].get("extractor_digest")))
            for run in self.runs.values()
            if (score := self.final_score(run, measure.metric))
        }

    def own_scores(self, run: ScoredRun, metric: str) -> list[Score]:
        """A run's scores by a metric and the row's own protocol: studies differ in their number of samples."""
        own = own_protocol(self.jobs[0].recipe)
        return [score for score in run.curve if score["metric"] == metric and is_own(score, own)]

    def final_score(self, run: ScoredRun, metric: str) -> Score | None:
        """The newest final score of the reported weights, which come first."""
        own = own_protocol(self.jobs[0].recipe)
        scores = [score for score in run.scores if score["metric"] == metric and is_own(score, own)]
        return next((score for score in reversed(scores) if score["weights"] == scores[0]["weights"]), None)

    def curve(self, run: ScoredRun, metric: str) -> list[Score]:
        """A run's scores during training, in order, of the weights that it reports."""
        final = self.final_score(run, metric)
        weights = final["weights"] if final else None
        scores = [score for score in self.own_scores(run, metric) if score["weights"] == weights]
        return sorted(
            (score for score in scores if score.get("seconds") is not None), key=lambda score: int(score["images"])
        )


def recorded(cell: Cell, ledger: Ledger) -> CellFound:
    """A cell with its recorded runs."""
    runs = {job.seed: run for job in cell.jobs if (run := ledger.find(*job.key)) is not None}
    return CellFound(**vars(cell), runs=runs)


def kept_logs(cell: CellFound, baseline: CellFound, measures: Sequence[Measure], bar: float | None, zoo: Zoo) -> Logs:
    """The cell's log scores as ``CellFound.logs``, also with NaN where a run collapsed, see ``without_collapsed``."""
    has_bar = all(one.scale(zoo) == "ratio" and not one.is_time for one in measures)
    if not has_bar or not all(baseline.values(one).applies for one in measures):
        return without_collapsed(cell.logs(measures, zoo), np.zeros((1, 0)), None)
    logs, first = cell.logs(measures, zoo), baseline.logs(measures, zoo)
    # Until the baseline has the seeds of the first look, the bar would move with every run.
    n = first.shape[1] if first.shape[1] < LOOKS[0] else logs.shape[1]
    return without_collapsed(logs[:, :n], first, bar)


def logarithm(value: float, scale: Scale, n: int = 10_000) -> float:
    """The logarithm of a score, or of a share's odds: scores are compared by these.

    To keep it finite, a count of 0 is taken as 1, any other score of 0 as 1 / n, and a share of 1 as 1 - 1 / n, where n
    is the number of samples or, for a share of real images, of those.
    """
    if scale == "share":
        share = min(max(value, 1 / n), 1 - 1 / n)
        return math.log(share / (1 - share))
    return math.log(value or (1 if scale == "count" else 1 / n))
