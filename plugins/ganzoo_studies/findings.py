"""A study's results, from the records in a results folder: runs and scores of its cells, its search, its verdicts."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean, stdev
from typing import Any

import numpy as np

from ganzoo.api.metric import Scale
from ganzoo.config.schema import Recipe
from ganzoo.formatting import duration
from ganzoo.registry.loading import Zoo
from ganzoo.runs.records import is_own, own_protocol
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import Ledger, Score, ScoredRun
from ganzoo_studies.study import BASELINE, Cell, Claim, Measure, Place, Study
from ganzoo_studies.verdicts import (
    LOOKS,
    Logs,
    Outcome,
    Verdict,
    in_words,
    judge,
    judge_failures,
    times,
    without_collapsed,
)

STARTS: Mapping[Outcome, str] = {
    Outcome.HELPS: "Use",
    Outcome.HURTS: "Do without",
    Outcome.NO_DIFFERENCE: "It makes no difference worth having to use",
    Outcome.DEPENDS: "It depends on the measure whether to use",
}
"""How an answer begins what it says of each outcome."""
USELESS = "Far from real images either way:"
FAR = 100.0
"""Rows that both score this many times worse than real images are far from real."""


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
    def logs(self) -> dict[int, float]:
        """Logarithms of the known values (of a share, of its odds), by seed; empty if a value is negative."""
        if min(self.known, default=0) < 0:
            return {}
        return {seed: logarithm(value, self.scale, self.n) for seed, value in self.by_seed.items() if value is not None}

    @property
    def noise(self) -> float | None:
        """The scatter between seeds as a factor: the exponential of the standard deviation of the logarithms."""
        return math.exp(stdev(self.logs.values())) if len(self.logs) > 1 else None


@dataclass(frozen=True, kw_only=True, eq=False)
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

    def in_order(self, measures: Sequence[Measure]) -> int:
        """Number of its first runs, without a gap, that did not crash and have been scored."""
        recipe = self.jobs[0].recipe
        for index, job in enumerate(self.jobs):
            run = self.runs.get(job.seed)
            if run is None or run.record.has_crashed or any(is_unscored(run, one, recipe) for one in measures):
                return index
        return len(self.jobs)

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
class Finding:
    """A claim of a study with its verdict, as pages and files show it."""

    study: Study
    claim: Claim
    verdict: Verdict

    @property
    def is_decided(self) -> bool:
        """Whether more seeds would change nothing."""
        return self.verdict.outcome is not Outcome.OPEN

    @property
    def method(self) -> str:
        """The row that should be better, in a few words."""
        at = f", {self.claim.at}" if self.claim.at else ""
        return self.claim.method or f"{self.claim.better}{at}"

    @property
    def rival(self) -> str | None:
        """The row that it is compared with, in a few words; None for the baseline, unless the claim names it."""
        than = self.claim.than_on or self.claim.than
        return self.claim.rival or (None if self.claim.method or than == BASELINE else than)

    @property
    def label(self) -> str:
        """The comparison in a few words: ``spectral normalisation over a gradient penalty``."""
        return f"{self.method} over {self.rival}" if self.rival else self.method

    @property
    def rows(self) -> str:
        """The rows that are compared, and where: ``ada with baseline, 1%``."""
        than = f"{self.claim.than} by {self.claim.than_on}" if self.claim.than_on else self.claim.than
        return f"{self.claim.better} with {than}{f', {self.claim.at}' if self.claim.at else ''}"

    @property
    def measures(self) -> str:
        """What is compared."""
        return "failures" if self.claim.about == "failures" else " and ".join(self.claim.on)

    @property
    def effect(self) -> str:
        """The effect with its interval, or why the claim is open."""
        return in_words(self.verdict, self.claim.on)

    def plain(self) -> dict[str, Any]:
        """JSON."""
        interval = self.verdict.interval
        return {
            "study": self.study.name,
            "says": self.claim.says,
            "outcome": self.verdict.outcome.value,
            "effect": self.verdict.effect,
            # JSON has no infinity.
            "interval": interval and [end if math.isfinite(end) else None for end in interval.ends],
            "seeds": self.verdict.seeds,
        }


@dataclass(frozen=True)
class Found:
    """A study and its recorded results."""

    study: Study
    cells: tuple[CellFound, ...]  # by setting and row, without those whose search is unfinished or found nothing
    trials: tuple[CellFound, ...]  # of its search
    winners: Mapping[Place, CellFound]  # the best trial for each row and setting
    verdicts: tuple[Verdict, ...] = ()  # on its claims, in order

    @property
    def runs(self) -> list[ScoredRun]:
        """All recorded runs of its cells; a run that several cells share counts once."""
        return list({run.record.key: run for cell in self.cells for run in cell.runs.values()}.values())

    @property
    def topic(self) -> str:
        """The study's name as a heading."""
        return self.study.name.replace("-", " ").capitalize()

    @property
    def usual_hardware(self) -> str:
        """The hardware that the most runs used."""
        counted = Counter(run.record.hardware for run in self.runs)
        return counted.most_common(1)[0][0] if counted else ""

    @property
    def findings(self) -> list[Finding]:
        """Each claim with its verdict."""
        return [Finding(self.study, *one) for one in zip(self.study.claims, self.verdicts, strict=True)]

    @property
    def advice(self) -> str:
        """What the decided claims say: what to use, and what to do without; empty if none is decided."""
        said: dict[str, list[str]] = {}
        for one in self.findings:
            if not one.is_decided:
                continue
            ours, theirs, effect = one.method, one.rival, one.verdict.effect or 1.0
            start = STARTS[one.verdict.outcome]
            if one.verdict.outcome is Outcome.HURTS and theirs:
                ours, theirs, effect, start = theirs, ours, 1 / effect, STARTS[Outcome.HELPS]
            start = USELESS if one.verdict.is_far else start
            said.setdefault(start, []).append(f"{ours}{f' rather than {theirs}' if theirs else ''} ({times(effect)})")
        return " ".join(f"{start} {listed(said[start])}." for start in (*STARTS.values(), USELESS) if start in said)

    @property
    def answer(self) -> str:
        """The answer to the study's question, in a line."""
        n = sum(not one.is_decided for one in self.findings)
        if not self.findings:
            return "It tests no claim: its table compares the rows."
        if n == len(self.findings):
            return f"None of its {n} claims is decided yet." if n > 1 else "Its claim is not decided yet."
        still_open = f" {n} more claim{' is' if n == 1 else 's are'} open." if n else ""
        return f"{self.advice}{still_open}"

    @cached_property
    def is_searching(self) -> bool:
        """Whether a trial is not done yet."""
        return not all(trial.is_done(self.study.measures[0]) for trial in self.trials)

    @property
    def without_winner(self) -> list[Place]:
        """Rows and settings in which every trial failed, so that nothing was trained."""
        if self.is_searching:
            return []
        return [place for place in dict.fromkeys(one.place for one in self.trials) if place not in self.winners]

    def cell(self, row: str, setting: str) -> CellFound | None:
        """The cell of a row in a setting, or None."""
        return next((one for one in self.cells if one.place == (row, setting)), None)

    def jobs(self, cell: Cell, *, last: int = LOOKS[-1], at_once: bool = False) -> tuple[Job, ...]:
        """The runs that a cell needs for the next look of its open claims or, with ``at_once``, for all looks.

        There is no look at more than ``last`` seeds.
        """
        n = self.study.first_seeds(*cell.place)
        for claim, verdict in zip(self.study.claims, self.verdicts, strict=True):
            if cell.row in (claim.better, claim.than) and claim.at in (None, cell.setting) and not claim.withdrawn:
                is_open = verdict.outcome is Outcome.OPEN
                further = [look for look in LOOKS if verdict.seeds < look <= last] if is_open else []
                n = max(n, further[-1 if at_once else 0] if further else min(verdict.seeds, last))
        return cell.jobs[:n]

    def missing(self, *, last: int = LOOKS[-1], at_once: bool = False) -> dict[CellFound, int]:
        """The number of runs that each cell still lacks of those, see ``jobs``."""
        needed = {cell: self.jobs(cell, last=last, at_once=at_once) for cell in self.cells}
        return {cell: sum(job.seed not in cell.runs for job in jobs) for cell, jobs in needed.items()}

    def in_words(self, last: int = LOOKS[-1]) -> str:
        """What is decided, what is open, and what the rest costs, in a sentence."""
        is_open = sum(verdict.outcome is Outcome.OPEN for verdict in self.verdicts)
        parts = [f"{len(self.verdicts) - is_open} of {len(self.verdicts)} claims decided, {is_open} open"]
        usual = fmean([run.record.seconds for run in self.runs] or [0.0])
        for words, at_once in (("next", False), ("until the last look at most", True)):
            missing = self.missing(last=last, at_once=at_once)
            costs = {cell: fmean([run.record.seconds for run in cell.runs.values()] or [usual]) for cell in missing}
            if n := sum(missing.values()):
                cost = sum(missing[cell] * costs[cell] for cell in missing)
                parts.append(f"{words} {n} runs{f', about {duration(cost)}' if cost else ''}")
        return "; ".join(parts if len(parts) > 1 else [*parts, "nothing left to train"])


def listed(words: Sequence[str]) -> str:
    """Words in a sentence: ``a, b and c``."""
    return " and ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def find(study: Study, ledger: Ledger, zoo: Zoo) -> Found:
    """Look up a study's runs, and judge its claims."""
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
    found = Found(study, tuple(_recorded(cell, ledger) for cell in ready), tuple(trials), winners)
    return replace(found, verdicts=tuple(_verdict(found, claim, zoo) for claim in study.claims))


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


def _verdict(found: Found, claim: Claim, zoo: Zoo) -> Verdict:
    """The verdict on a claim at the last look that its seeds reach in order, so never on those that happened to end."""
    if claim.withdrawn:
        return Verdict(Outcome.OPEN, f"Withdrawn: {claim.withdrawn}")
    settings = (claim.at,) if claim.at is not None else found.study.setting_names
    if found.is_searching:
        return Verdict(Outcome.OPEN, "Its search has not finished.")
    if lost := [row for row in (claim.better, claim.than) for at in settings if (row, at) in found.without_winner]:
        return Verdict(Outcome.OPEN, f"All trials of {lost[0]} failed.")
    ours, theirs = (
        [found.study.measure(one) for one in some] for some in (claim.on, [claim.than_on or one for one in claim.on])
    )
    compared = [
        (found.cell(row, at), some) for row, some in ((claim.better, ours), (claim.than, theirs)) for at in settings
    ]
    scored = [(cell, one) for cell, some in compared if cell is not None for one in some]
    if trouble := _trouble(scored):
        return Verdict(Outcome.OPEN, trouble)
    logs = [_logs(found, cell, some, zoo) for cell, some in compared if cell is not None]
    seeds = min(one.shape[1] for one in logs)
    # (measures, settings, seeds)
    stacked = np.stack([one[:, :seeds] for one in logs], 1)
    better, than = stacked[:, : len(settings)], stacked[:, len(settings) :]
    claims = len(found.study.claims)
    if claim.about == "failures":
        verdict = judge_failures(np.isnan(better[0]), np.isnan(than[0]), claims)
    else:
        paired = len(settings) > 1 or claim.better == claim.than or claim.paired
        verdict = judge(better, than, claims, paired=paired, counts=ours[0].scale(zoo) == "count")
    waits = _waits(scored) if verdict.outcome is Outcome.OPEN else ""
    gaps = [_from_real(cell, some, zoo) for cell, some in compared if cell is not None]
    is_far = min(fmean(gaps[: len(settings)]), fmean(gaps[len(settings) :])) > math.log(FAR)
    return replace(verdict, why=waits or verdict.why, is_far=is_far)


def _from_real(cell: CellFound, measures: Sequence[Measure], zoo: Zoo) -> float:
    """How far a row scores from real images, as a logarithm; 0 where that is unknown."""
    gaps = []
    for one in measures:
        values, own = cell.values(one, zoo), own_protocol(cell.jobs[0].recipe)
        floors = [score["floor"] for run in cell.runs.values() if (score := _final(run, one.metric, own))]
        if values.logs and not one.is_time and None not in floors:
            gaps.append(abs(fmean(values.logs.values()) - logarithm(floors[0], values.scale, values.n)))
    return fmean(gaps) if len(gaps) == len(measures) else 0.0


def _logs(found: Found, cell: CellFound, measures: Sequence[Measure], zoo: Zoo) -> Logs:
    """Log scores of a claim's row (measures, seeds), larger is better, with NaN where a run collapsed.

    Seeds count in order, up to the first that is not recorded, crashed or lacks a score.
    """
    has_bar = all(one.scale(zoo) == "ratio" and not one.is_time for one in measures)
    baseline = found.cell(BASELINE, cell.setting)
    if not has_bar or baseline is None or not all(baseline.values(one).applies for one in measures):
        return without_collapsed(_in_order(cell, measures, zoo), np.zeros((1, 0)), None)
    logs, first = (_in_order(one, measures, zoo) for one in (cell, baseline))
    # Until the baseline has the seeds of the first look, the bar would move with every run.
    n = first.shape[1] if first.shape[1] < LOOKS[0] else logs.shape[1]
    return without_collapsed(logs[:, :n], first, found.study.collapse)


def _in_order(cell: CellFound, measures: Sequence[Measure], zoo: Zoo) -> Logs:
    jobs = cell.jobs[: cell.in_order(measures)]
    signs = [1 if one.better(zoo) == "higher" else -1 for one in measures]
    known = [cell.values(one, zoo).logs for one in measures]
    rows = [[sign * logs.get(job.seed, math.nan) for job in jobs] for sign, logs in zip(signs, known, strict=True)]
    return np.array(rows).reshape(len(measures), len(jobs))


def _waits(compared: Sequence[tuple[CellFound, Measure]]) -> str:
    """Which run or score is missing although it should be there, in a sentence; empty if none is."""
    records = [run.record for cell, _ in compared for run in cell.runs.values()]
    if crashed := [record for record in records if record.has_crashed]:  # which says nothing about the method
        return f"A run failed without diverging: {crashed[0].error} `--retry` resumes it."
    missing = [measure for cell, measure in compared if cell.unscored(measure)]
    if any(one.is_time for one in missing):
        return "A score during training is missing; `--force` trains again."
    return "A score is missing; `ganzoo study run` adds it." if missing else ""


def _trouble(compared: Sequence[tuple[CellFound, Measure]]) -> str:
    """Why scores cannot be compared, in a sentence; empty if they can."""
    values = [cell.values(one) for cell, one in compared]
    if any(min(one.known, default=0) < 0 for one in values):
        return "Some scores are negative, and have no logarithm."
    if not all(one.applies for one in values):
        return "One of its rows has no such score: the measure needs labels or an encoder, which the row lacks."
    machines = {run.record.hardware for cell, _ in compared for run in cell.runs.values()}
    if len(machines) > 1 and any(one.is_time for _, one in compared):
        return "Its runs were made on different machines, whose times cannot be compared."
    extractors = {one for cell, measure in compared for one in cell.extractors(measure)}
    if len(extractors) > len({metric for metric, _ in extractors}):
        return "Its runs were scored by different versions of an extractor. `ganzoo eval` scores the older ones again."
    return ""


def logarithm(value: float, scale: Scale, n: int = 10_000) -> float:
    """The logarithm of a score, or of a share's odds: scores are compared by these.

    To keep it finite, a count of 0 is taken as 1, any other score of 0 as 1 / n, and a share of 1 as 1 - 1 / n, where n
    is the number of samples or, for a share of real images, of those.
    """
    if scale == "share":
        share = min(max(value, 1 / n), 1 - 1 / n)
        return math.log(share / (1 - share))
    return math.log(value or (1 if scale == "count" else 1 / n))


def in_order(found: Found, last: int = LOOKS[-1]) -> Iterator[Job]:
    """The jobs of the next look, seed by seed, so that a study that is stopped early has results for every row."""
    needed = [found.jobs(cell, last=last) for cell in found.cells]
    for index in range(max(map(len, needed), default=0)):
        for jobs in needed:
            if index < len(jobs):
                yield jobs[index]
