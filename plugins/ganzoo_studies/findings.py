"""A study's results, from the records in a results folder: runs and scores of its cells, its search, its verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

from ganzoo.api.metric import Scale
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import is_own, own_protocol
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import Ledger, Score, ScoredRun
from ganzoo_studies.study import Cell, Claim, Measure, Place, Study, load_study
from ganzoo_studies.verdicts import Comparison, Verdict, judge


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

    @property
    def is_limited(self) -> bool:
        """Whether a value is at its measure's limit, so that ``logarithm`` replaces it."""
        return 0 in self.known or (self.scale == "share" and 1 in self.known)

    @property
    def logs(self) -> dict[int, float]:
        """Logarithms of the known values (of a share, of its odds), by seed; empty if a value is negative."""
        if min(self.known, default=0) < 0:
            return {}
        return {seed: logarithm(value, self.scale, self.n) for seed, value in self.by_seed.items() if value is not None}

    @property
    def middle(self) -> float | None:
        """The geometric mean (of a share, through its odds), which claims compare; None if there are no logarithms."""
        if not self.logs:
            return None
        mean = math.exp(fmean(self.logs.values()))
        return mean / (1 + mean) if self.scale == "share" else mean

    @property
    def noise(self) -> float | None:
        """The scatter between seeds as a factor: the exponential of the standard deviation of the logarithms."""
        return math.exp(stdev(self.logs.values())) if len(self.logs) > 1 else None


@dataclass(frozen=True, kw_only=True)
class CellFound(Cell):
    """A cell or a trial and its recorded runs, by seed."""

    runs: Mapping[int, ScoredRun]

    def values(self, measure: Measure, zoo: Zoo | None = None, hardware: str | None = None) -> Values:
        """A measure's value for every recorded run, or only for those on the given hardware.

        Without ``zoo``, the values are not to be compared.
        """
        recipe = self.jobs[0].recipe
        runs = {seed: run for seed, run in self.runs.items() if hardware in (None, run.record.hardware)}
        by_seed = {seed: value_of(run, measure, recipe) for seed, run in runs.items()}
        applies = measure.metric in recipe.evaluate.metrics
        if zoo is None:
            return Values(by_seed, applies=applies)
        n = recipe.evaluate.samples
        if measure.share_of(zoo) == "real images":
            own = own_protocol(recipe)
            scores = [score for run in runs.values() for score in run.curve if score["metric"] == measure.metric]
            n = max((score["protocol"].get("n_real") or 0 for score in scores if is_own(score, own)), default=0) or n
        return Values(by_seed, measure.scale(zoo), n, applies)

    def unscored(self, measure: Measure) -> int:
        """Number of finished runs that lack a score they should have, for example after a measure was added."""
        return sum(is_unscored(run, measure, self.jobs[0].recipe) for run in self.runs.values())

    def is_done(self, measure: Measure) -> bool:
        """Whether all its runs are recorded, none of them crashed, and all are scored unless they diverged."""
        crashed = any(run.record.has_crashed for run in self.runs.values())
        return len(self.runs) == len(self.jobs) and not crashed and not self.unscored(measure)

    def result(self, measure: Measure) -> float | None:
        """The mean of a measure; None if a run is missing, failed or was not scored."""
        known = self.values(measure).known
        return fmean(known) if len(known) == len(self.jobs) else None

    def extractors(self, measure: Measure) -> set[tuple[str, str]]:
        """The metric, and the digest of each version of its extractor that scored the runs."""
        own = own_protocol(self.jobs[0].recipe)
        scores = [_final(run, measure.metric, own) for run in self.runs.values()]
        return {(measure.metric, str(score["protocol"].get("extractor_digest"))) for score in scores if score}


@dataclass(frozen=True)
class Found:
    """A study and its recorded results."""

    study: Study
    cells: tuple[CellFound, ...]  # by setting and row, without those whose search is unfinished or found nothing
    trials: tuple[CellFound, ...]  # of its search
    winners: Mapping[Place, CellFound]  # the best trial for each row and setting
    asked: int  # seeds of each variant according to the study's file; ``study`` has more if all rows do

    @property
    def runs(self) -> list[ScoredRun]:
        """All recorded runs of its cells; a run that several cells share counts once."""
        return list({run.record.key: run for cell in self.cells for run in cell.runs.values()}.values())

    @property
    def planned(self) -> int:
        """Number of distinct runs that its cells require."""
        return len({job.key for cell in self.cells for job in cell.jobs})

    @cached_property
    def is_searching(self) -> bool:
        """Whether a trial is not done yet."""
        return not all(trial.is_done(self.study.measures[0]) for trial in self.trials)

    @property
    def is_complete(self) -> bool:
        """Whether every run that the study requires is recorded."""
        return not self.is_searching and len(self.runs) >= self.planned

    @property
    def without_winner(self) -> list[Place]:
        """Rows and settings in which every trial failed, so that nothing was trained."""
        if self.is_searching:
            return []
        return [place for place in dict.fromkeys(one.place for one in self.trials) if place not in self.winners]

    def cell(self, row: str, setting: str) -> CellFound | None:
        """The cell of a row in a setting, or None."""
        return next((one for one in self.cells if one.place == (row, setting)), None)


def find(study: Study, ledger: Ledger, zoo: Zoo) -> Found:
    """Look up a study's runs: the required ones, and further seeds that every row has (``--seeds``)."""
    found = _find(study, ledger, zoo)
    while found.cells and found.is_complete:  # no cells if all trials of all rows failed
        # The first seed of each row beyond those that the study requires.
        further = [(one.jobs[0], study.seeds_of(one.row)) for one in found.cells]
        if any(ledger.find(job.digest, job.dataset, seed) is None for job, seed in further):
            break
        study = study.with_seeds(study.seeds + 1)
        more = _find(study, ledger, zoo)
        if not more.is_complete:
            break
        found = replace(more, asked=found.asked)
    return found


def _find(study: Study, ledger: Ledger, zoo: Zoo) -> Found:
    deciding = study.measures[0]
    sign = 1 if deciding.better(zoo) == "higher" else -1
    trials = [_recorded(trial, ledger) for trial in study.trials(zoo)]
    winners: dict[Place, CellFound] = {}
    best: dict[Place, float] = {}
    if all(trial.is_done(deciding) for trial in trials):
        for one in trials:
            value = one.result(deciding)
            if value is not None and sign * value > best.get(one.place, -math.inf):
                winners[one.place], best[one.place] = one, sign * value
    cells = study.cells(zoo, {place: winner.changes for place, winner in winners.items()})
    ready = [cell for cell in cells if not study.is_tuned(cell.row) or cell.place in winners]
    return Found(study, tuple(_recorded(cell, ledger) for cell in ready), tuple(trials), winners, study.seeds)


def _recorded(cell: Cell, ledger: Ledger) -> CellFound:
    runs = {job.seed: run for job in cell.jobs if (run := ledger.find(*job.key)) is not None}
    return CellFound(**vars(cell), runs=runs)


def value_of(run: ScoredRun, measure: Measure, recipe: Recipe) -> float | None:
    """A run's value, by the recipe's protocol; None if it failed, was not scored, or never reached the threshold."""
    if run.record.status != "done":
        return None
    own = own_protocol(recipe)
    if not measure.is_time:
        final = _final(run, measure.metric, own)
        return None if final is None else float(final["value"])
    for score in curve(run, measure.metric, own):
        if (measure.below is not None and score["value"] < measure.below) or (
            measure.above is not None and score["value"] > measure.above
        ):
            return float(score["seconds"])
    return None


def _final(run: ScoredRun, metric: str, own: Mapping[str, Any]) -> Score | None:
    """The newest final score of the reported weights, which come first."""
    scores = [score for score in run.scores if score["metric"] == metric and is_own(score, own)]
    return next((score for score in reversed(scores) if score["weights"] == scores[0]["weights"]), None)


def is_unscored(run: ScoredRun, measure: Measure, recipe: Recipe) -> bool:
    """Whether a finished run lacks a score it should have."""
    if run.record.status != "done" or measure.metric not in recipe.evaluate.metrics:
        return False
    if not measure.is_time:
        return value_of(run, measure, recipe) is None
    # A measure that was added later has only a final score, not a curve.
    every = recipe.evaluate.every_images
    return every is not None and len(curve(run, measure.metric, own_protocol(recipe))) < run.record.images // every


def curve(run: ScoredRun, metric: str, own: Mapping[str, Any]) -> list[Score]:
    """A run's scores during training by one metric and protocol, for the weights that it reports, in order.

    Its own scores may have another protocol, since studies differ in their number of samples.
    """
    final = [score for score in run.scores if score["metric"] == metric and is_own(score, own)]
    points = [
        score
        for score in run.curve
        if final
        and (score["metric"], score["weights"]) == (metric, final[0]["weights"])
        and score.get("seconds") is not None
        and is_own(score, own)
    ]
    return sorted(points, key=lambda score: int(score["images"]))


def verdicts(all_found: Sequence[Found], zoo: Zoo) -> list[list[Verdict]]:
    """The verdicts on all claims of all studies, corrected for all claims to be tested: see ``all_claims``."""
    comparisons = [_comparison(found, claim, zoo) for found in all_found for claim in found.study.claims]
    more = all_claims([found.study for found in all_found], zoo) - len(comparisons)
    judged = iter(judge([*comparisons, *[Comparison((), (), waits="Not started.")] * more]))
    return [[next(judged) for _ in found.study.claims] for found in all_found]


def by_other_views(found: Found, claim: Claim, zoo: Zoo) -> list[tuple[str, Verdict]]:
    """A claim judged by the study's other measures of the same kind, such as another extractor's FID, with their names.

    Two views of one distance may disagree, and a claim is judged by only one of them. No verdict follows from the
    others: each is tested separately, so only its effect and interval are meaningful.
    """
    own = found.study.measure(claim.on)
    if claim.than_on or own.is_time:
        return []
    others = [
        one
        for one in found.study.measures
        if not one.is_time and one.metric != own.metric and one.metric.partition("@")[0] == own.metric.partition("@")[0]
    ]
    judged = [
        (one.name, judge([_comparison(found, claim.model_copy(update={"on": one.name}), zoo)])[0]) for one in others
    ]
    return [(name, verdict) for name, verdict in judged if verdict.interval is not None]


def all_claims(studies: Sequence[Study], zoo: Zoo) -> int:
    """Number of claims that verdicts are corrected for: those of these studies and of all others in the same plugins.

    All were stated beforehand, whether or not their studies have been run.
    """
    names = {study.name.removesuffix("-quick") for study in studies}
    plugins = {entry.plugin for entry in zoo.studies if entry.name in names}
    others = 0
    for entry in zoo.studies:
        if entry.plugin in plugins and entry.name not in names:
            with suppress(GanzooError):  # `ganzoo check` reports what is wrong with it
                others += len(load_study(entry.name, zoo).claims)
    return sum(len(study.claims) for study in studies) + others


def _comparison(found: Found, claim: Claim, zoo: Zoo) -> Comparison:
    settings = (claim.at,) if claim.at is not None else found.study.setting_names
    sides = [
        (claim.better, found.study.measure(claim.on)),
        (claim.than, found.study.measure(claim.than_on or claim.on)),
    ]
    # Testing after each run, and stopping at the first difference, would find differences that do not exist.
    waits = ""
    if found.is_searching:
        waits = "Its search has not finished."
    elif not found.is_complete:
        waits = f"Waiting for all runs of the study: {len(found.runs)} of {found.planned} are recorded."
    lost = [row for row, _ in sides for setting in settings if (row, setting) in found.without_winner]
    if waits or lost:
        return Comparison((), (), waits=waits, trouble=f"All trials of {lost[0]} failed." if lost else "")
    compared = [
        [(cell, measure) for setting in settings if (cell := found.cell(row, setting)) is not None]
        for row, measure in sides
    ]
    scores = [[cell.values(one, zoo) for cell, one in side] for side in compared]
    runs = [run.record for side in compared for cell, _ in side for run in cell.runs.values()]
    if crashed := [record for record in runs if record.has_crashed]:  # which says nothing about the method
        waits = f"{_runs(len(crashed))} failed without diverging: {crashed[0].error} `--retry` resumes it."
    elif missing := sum(cell.unscored(one) for side in compared for cell, one in side):
        waits = f"Waiting for scores: {_runs(missing, 'finished ')} {'has' if missing == 1 else 'have'} none yet."
        if any(one.is_time for _, one in sides):
            waits += " Scores during training require training again: `ganzoo study run --force`."
    trouble = ""
    if any(min(one.known, default=0) < 0 for side in scores for one in side):
        trouble = f"Some scores of {claim.on} are negative, and have no logarithm."
    elif len({record.hardware for record in runs}) > 1 and any(one.is_time for _, one in sides):
        trouble = "Its runs were made on different machines, whose times cannot be compared."
    elif not all(one.applies for side in scores for one in side):
        trouble = "One of its rows has no such score: the measure needs labels or an encoder, which the row lacks."
    elif len(extractors := {one for side in compared for cell, measure in side for one in cell.extractors(measure)}) > (
        len({metric for metric, _ in extractors})
    ):
        trouble = (
            "Its runs were scored by different versions of an extractor. `ganzoo eval` scores the older ones again."
        )
    signs = [1 if measure.better(zoo) == "higher" else -1 for _, measure in sides]
    by_setting = len(settings) > 1
    # The two rows in one setting, or two scores of one run, are compared as a pair.
    paired = by_setting or claim.better == claim.than
    logs = _logs(scores, signs, by_setting=by_setting, paired=paired)
    return Comparison(
        logs[0],
        logs[1],
        failed=[sum(one.failed for one in side) for side in scores],
        runs=[sum(len(one.by_seed) for one in side) for side in scores],
        rounding=[_rounding(side, of_means=by_setting) for side in scores],
        at_least=_is_at_least(scores, signs[0]),
        paired=paired,
        of="settings" if by_setting else "seeds",
        trouble=trouble,
        waits=waits,
    )


def _logs(
    scores: Sequence[Sequence[Values]], signs: Sequence[int], *, by_setting: bool, paired: bool
) -> list[list[float]]:
    """The logarithms of both rows' scores, one for each setting or seed; larger is better.

    Where scores are compared in pairs, those without a counterpart are left out.
    """
    if by_setting:
        there = [all(one.logs for one in pair) for pair in zip(*scores, strict=True)]
        return [
            [sign * fmean(one.logs.values()) for one, known in zip(side, there, strict=True) if known]
            for side, sign in zip(scores, signs, strict=True)
        ]
    (ours,), (theirs,) = scores
    seeds = [ours.logs.keys() & theirs.logs.keys()] * 2 if paired else [ours.logs.keys(), theirs.logs.keys()]
    return [
        [sign * one.logs[seed] for seed in sorted(some)]
        for one, some, sign in zip((ours, theirs), seeds, signs, strict=True)
    ]


def _is_at_least(scores: Sequence[Sequence[Values]], sign: int) -> bool:
    """Whether the effect is a lower bound: ``logarithm`` moved scores at a measure's limit, making it smaller."""
    zeros = [any(0 in one.known for one in side) for side in scores]
    ones = [any(one.scale == "share" and 1 in one.known for one in side) for side in scores]
    best, worst = (ones, zeros) if sign > 0 else (zeros, ones)
    return (best[0] or worst[1]) and not (worst[0] or best[1])


def _runs(n: int, kind: str = "") -> str:
    return f"{n} {kind}run{'' if n == 1 else 's'}"


def _rounding(scores: Sequence[Values], *, of_means: bool) -> float:
    """A lower bound on the standard deviation of a row's logarithms: the noise that a count rounds away.

    The value behind a count may be anywhere within a step of 1; uniformly distributed, it has a deviation of 1/√12.
    With ``of_means``, means over a setting's seeds are compared, which are as much less noisy.
    """
    counted = [one.known for one in scores if one.scale == "count" and one.known]
    parts = [fmean(1 / max(value, 1) ** 2 / 12 for value in known) for known in counted]
    sizes = [len(known) if of_means else 1 for known in counted]
    return math.sqrt(fmean(part / size for part, size in zip(parts, sizes, strict=True))) if parts else 0.0


def logarithm(value: float, scale: Scale, n: int = 10_000) -> float:
    """The logarithm of a score, or of a share's odds: scores are compared by these.

    To keep it finite, a count of 0 is taken as 1, any other score of 0 as 1 / n, and a share of 1 as 1 - 1 / n, where n
    is the number of samples or, for a share of real images, of those.
    """
    if scale == "share":
        share = min(max(value, 1 / n), 1 - 1 / n)
        return math.log(share / (1 - share))
    return math.log(value or (1 if scale == "count" else 1 / n))


def in_order(study: Study, cells: Sequence[Cell]) -> Iterator[Job]:
    """The jobs seed by seed, so that a study that is stopped early has results for every row."""
    for index in range(max(study.seeds_of(row) for row in study.rows)):
        for cell in cells:
            if index < len(cell.jobs):
                yield cell.jobs[index]
