"""A study's results, from the records in a results folder: tuning, gates, runs and scores of its cells, verdicts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from statistics import fmean, mode
from typing import Any

import numpy as np

from ganzoo.formatting import duration, listed
from ganzoo.registry.loading import Zoo
from ganzoo_studies.cells import CellFound, kept_logs, recorded
from ganzoo_studies.gates import Gate, gates_of
from ganzoo_studies.matrix import Job
from ganzoo_studies.records import Ledger, ScoredRun
from ganzoo_studies.study import BASELINE, VALIDATION_SEEDS, Cell, Claim, Measure, Place, Study, load_study
from ganzoo_studies.tuning import Tuned, tune
from ganzoo_studies.verdicts import (
    LOOKS,
    Outcome,
    Verdict,
    in_few_words,
    in_words,
    judge,
)

STARTS: Mapping[Outcome, str] = {
    Outcome.HELPS: "Use",
    Outcome.HURTS: "Do without",
    Outcome.NO_DIFFERENCE: "No difference worth having:",
    Outcome.DEPENDS: "The measures disagree on",
}
"""How an answer begins what it says of each outcome."""
USELESS = "Far from real images either way:"
FAR = 100.0
"""Rows that both score this many times worse than real images are far from real."""


@dataclass(frozen=True)
class Finding:
    """A claim of a study with its verdict, as pages and files show it."""

    study: Study
    claim: Claim
    verdict: Verdict
    gates: tuple[Gate, ...] = ()  # none before they are measured

    @property
    def is_decided(self) -> bool:
        """Whether more seeds would change nothing."""
        return self.verdict.outcome is not Outcome.OPEN

    @property
    def method(self) -> str:
        """The row that should be better, in a few words."""
        return self.claim.method or self.claim.better

    @property
    def at(self) -> str:
        """The setting, if the claim's words leave it out, or are another claim's too; otherwise empty."""
        alike = [one for one in self.study.claims if (one.method, one.rival) == (self.claim.method, self.claim.rival)]
        return (self.claim.at or "") if self.claim.method is None or len(alike) > 1 else ""

    @property
    def rival(self) -> str | None:
        """The row that it is compared with, in a few words; None for the baseline, unless the claim names it."""
        than = self.claim.than_on or self.claim.than
        return self.claim.rival or (None if self.claim.method or than == BASELINE else than)

    @property
    def label(self) -> str:
        """The comparison in a few words: ``spectral normalisation over a gradient penalty``."""
        return " over ".join(filter(None, (self.method, self.rival))) + (f", {self.at}" if self.at else "")

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
    tuned: Mapping[Place, Tuned]  # the search for the settings of each row, if it has one
    gated: tuple[CellFound, ...] = ()  # that its gates need, on validation images
    findings: tuple[Finding, ...] = ()  # its claims, in order
    regimes: tuple[Found, ...] = ()  # the study in the regimes that were tried before
    there: Mapping[str, Outcome] = field(default_factory=dict)  # of decided claims of the study it repeats, by rows

    @property
    def runs(self) -> list[ScoredRun]:
        """All recorded runs of its cells; a run that several cells share counts once."""
        return _runs(self.cells)

    @property
    def prepared(self) -> list[ScoredRun]:
        """All recorded runs on validation images, each once."""
        return _runs([*(trial for one in self.tuned.values() for trial in one.trials), *self.gated])

    @property
    def all_gates(self) -> list[Gate]:
        """The gates of all claims, each once."""
        return list(dict.fromkeys(gate for one in self.findings for gate in one.gates))

    @property
    def topic(self) -> str:
        """The study's name as a heading; whether it is exploratory is said after the answer."""
        return self.study.name.removesuffix("-exploratory").replace("-", " ").capitalize()

    @property
    def usual_hardware(self) -> str:
        """The hardware that the most runs used."""
        return mode([run.record.hardware for run in self.runs] or [""])

    @property
    def advice(self) -> str:
        """What the decided claims say: what to use, and what to do without; empty if none is decided."""
        said: dict[str, dict[str, list[str]]] = {}  # the settings and effects of each comparison, by the start
        same, numbered = STARTS[Outcome.NO_DIFFERENCE], (STARTS[Outcome.HELPS], STARTS[Outcome.HURTS], USELESS)
        # The title of a study that repeats another says what all methods are tried on. Endings that differ stay.
        where = "".join(
            {"".join((one.method or "").partition(" on ")[1:]) for one in self.study.claims if self.study.repeats}
        )
        for one in (finding for finding in self.findings if finding.is_decided):
            names, verdict = (one.method.removesuffix(where), one.rival), one.verdict
            if verdict.outcome is Outcome.HURTS and one.rival:  # then the rival is what to use
                names, effect = (one.rival, names[0]), 1 / (verdict.effect or 1.0)
                verdict = replace(verdict, outcome=Outcome.HELPS, effect=effect, failed=verdict.failed[::-1])
            start = USELESS if verdict.is_far else STARTS[verdict.outcome]
            why = in_few_words(verdict, failures=one.claim.about == "failures") if start in numbered else ""
            # A sentence says once what its numbers are.
            why = (
                why.partition(" times ")[0]
                if start != USELESS and " times " in str([*said.get(start, {}).values()])
                else why
            )
            text = (" or " if start in (same, STARTS[Outcome.DEPENDS]) else " rather than ").join(filter(None, names))
            said.setdefault(start, {}).setdefault(text, []).append(": ".join(filter(None, (one.at, why))))
        parts = {
            start: [f"{text} ({', '.join(whys)})" if any(whys) else text for text, whys in texts.items()]
            for start, texts in said.items()
        }
        return " ".join(
            f"{start} {'; '.join(parts[start]) if start == same else listed(parts[start])}."
            for start in (*STARTS.values(), USELESS)
            if start in parts
        )

    @property
    def difference(self) -> str:
        """What it says that the study that it repeats does not: other outcomes, and claims of its own."""
        other = [one for one in self.findings if one.is_decided and one.verdict.outcome is not self.there.get(one.rows)]
        return f"Only here: {advice}" if (advice := replace(self, findings=tuple(other)).advice) else ""

    @property
    def comparison(self) -> str:
        """How many outcomes are those of the study that it repeats, and what else it says; empty if none is in both."""
        both = [
            one.verdict.outcome is self.there[one.rows]
            for one in self.findings
            if one.is_decided and one.rows in self.there
        ]
        return (
            f"{sum(both)} of {len(both)} outcomes are those of {self.study.repeats}. {self.difference}".strip()
            if both
            else ""
        )

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

    @property
    def preparations(self) -> list[Job]:
        """The runs on validation images that are next: they tune rows, or measure the gates of tuned ones."""
        tuning = [job for one in self.tuned.values() for job in one.jobs]
        return tuning + [job for cell in self.gated for job in cell.jobs[cell.in_order(self.study.measures) :]]

    @property
    def without_winner(self) -> list[Place]:
        """Rows and settings in which every trial failed, so that nothing was trained."""
        return [place for place, one in self.tuned.items() if one.winner is None and not one.jobs]

    def cell(self, row: str, setting: str) -> CellFound:
        """The cell of a row in a setting, which must not be without a winner."""
        return next(one for one in self.cells if one.place == (row, setting))

    def jobs(self, cell: Cell, *, last: int = LOOKS[-1], at_once: bool = False) -> tuple[Job, ...]:
        """The runs that a cell needs for the next look of its open claims or, with ``at_once``, for all looks.

        There is no look at more than ``last`` seeds.
        """
        tested = [one for one in self.findings if not one.claim.withdrawn and all(gate.is_passed for gate in one.gates)]
        n = self.study.first_seeds(*cell.place, [one.claim for one in tested])
        for one in tested:
            if cell.row in (one.claim.better, one.claim.than) and one.claim.at in (None, cell.setting):
                further = [look for look in LOOKS if one.verdict.seeds < look <= last and not one.is_decided]
                n = max(n, further[-1 if at_once else 0] if further else min(one.verdict.seeds, last))
        return cell.jobs[:n]

    def next_jobs(self, last: int = LOOKS[-1]) -> list[Job]:
        """The runs on validation images that are next or, after them, all that are needed up to the next look.

        They come seed by seed, so that a study that is stopped early has results for every row.
        """
        return self.preparations or [
            job
            for jobs in zip_longest(*(self.jobs(cell, last=last) for cell in self.cells))
            for job in jobs
            if job is not None
        ]

    def missing(self, *, last: int = LOOKS[-1], at_once: bool = False) -> dict[CellFound, int]:
        """The number of runs that each cell still lacks of those, see ``jobs``."""
        return {
            cell: sum(job.seed not in cell.runs for job in self.jobs(cell, last=last, at_once=at_once))
            for cell in self.cells
        }

    def in_words(self, last: int = LOOKS[-1]) -> str:
        """What is decided, what is open, and what the rest costs, in a sentence."""
        decided, n = sum(one.is_decided for one in self.findings), len(self.findings)
        parts = [f"{decided} of {n} claims decided, {n - decided} open"]
        if self.preparations:
            return f"{parts[0]}; next {len(self.preparations)} runs on validation images, to tune rows or measure gates"
        usual = fmean([run.record.seconds for run in self.runs] or [0.0])
        for words, at_once in (("next", False), ("until the last look at most", True)):
            missing = self.missing(last=last, at_once=at_once)
            costs = {cell: fmean([run.record.seconds for run in cell.runs.values()] or [usual]) for cell in missing}
            if n := sum(missing.values()):
                cost = sum(missing[cell] * costs[cell] for cell in missing)
                parts.append(f"{words} {n} runs{f', about {duration(cost)}' if cost else ''}")
        return "; ".join(parts if len(parts) > 1 else [*parts, "nothing left to train"])


def _runs(cells: Iterable[CellFound]) -> list[ScoredRun]:
    return list({run.record.key: run for cell in cells for run in cell.runs.values()}.values())


def find(study: Study, ledger: Ledger, zoo: Zoo) -> Found:
    """Look up a study's runs, and judge its claims."""
    tuned = {place: tune(study, place, ledger, zoo) for place in (study.places if study.is_tuned else ())}
    winners = {place: one.winner for place, one in tuned.items() if one.winner is not None}
    changes = {place: winner.changes for place, winner in winners.items()}
    ready = [recorded(cell, ledger) for cell in study.cells(zoo, changes) if not tuned or cell.place in winners]
    references = {cell.setting: recorded(cell, ledger) for cell in study.references(zoo, changes)}
    prepared = [_gates(study, claim, tuned, references, zoo) for claim in study.claims]
    gated = dict.fromkeys(cell for needed, _ in prepared for cell in needed)
    found = Found(study, tuple(ready), tuned, tuple(gated), (), tuple(find(one, ledger, zoo) for one in study.regimes))
    findings = [
        Finding(study, claim, _verdict(found, claim, gates, zoo), tuple(gates))
        for claim, (_, gates) in zip(study.claims, prepared, strict=True)
    ]
    others = [load_study(study.repeats, zoo).model_copy(update={"repeats": None})] if study.repeats else []
    decided = [one for other in others for one in find(other, ledger, zoo).findings if one.is_decided]
    return replace(found, findings=tuple(findings), there={one.rows: one.verdict.outcome for one in decided})


def _gates(
    study: Study, claim: Claim, tuned: Mapping[Place, Tuned], references: Mapping[str, CellFound], zoo: Zoo
) -> tuple[list[CellFound], list[Gate]]:
    """The cells that a claim's gates need, and the gates as far as those are complete."""
    needed, gates = list[CellFound](), list[Gate]()
    for setting in study.settings_of(claim) if references and not claim.withdrawn else ():
        searches = {row: tuned[row, setting] for row in (BASELINE, claim.better, claim.than)}
        winners = [one.winner for one in searches.values() if one.winner is not None]
        if len(winners) == len(searches):
            cells = [*winners, references[setting]]
            needed += cells
            if all(cell.in_order(study.measures) == VALIDATION_SEEDS for cell in cells):
                gates += gates_of(claim, study, setting, searches, references[setting], zoo)
    return needed, gates


def _verdict(found: Found, claim: Claim, gates: Sequence[Gate], zoo: Zoo) -> Verdict:
    """The verdict on a claim at the last look that its seeds reach in order, so never on those that happened to end."""
    study, settings = found.study, found.study.settings_of(claim)
    if claim.withdrawn:
        return Verdict(Outcome.OPEN, f"Withdrawn: {claim.withdrawn}")
    if found.preparations:
        return Verdict(Outcome.OPEN, "Its rows are not tuned, or its gates not measured yet.")
    if failed := [gate for gate in gates if not gate.is_passed]:
        where, needs, has = failed[0].where, failed[0].needs, failed[0].found
        return Verdict(Outcome.OPEN, f"Not tested, since a gate failed: {where} needs {needs}, and has {has}.")
    rows = (BASELINE, claim.better, claim.than)
    if lost := [row for row in rows for at in settings if (row, at) in found.without_winner]:
        return Verdict(Outcome.OPEN, f"All trials of {lost[0]} failed.")
    ours, theirs = ([study.measure(one) for one in on] for on in (claim.on, [claim.than_on or one for one in claim.on]))
    compared = [(found.cell(claim.better, at), ours) for at in settings]
    compared += [(found.cell(claim.than, at), theirs) for at in settings]
    logs = [
        kept_logs(cell, found.cell(BASELINE, cell.setting), measures, study.collapse, zoo)
        for cell, measures in compared
    ]
    # (measures, settings, seeds)
    stacked = np.stack([one[:, : min(other.shape[1] for other in logs)] for one in logs], 1)
    verdict = judge(
        stacked[:, : len(settings)],
        stacked[:, len(settings) :],
        len(study.claims),
        paired=len(settings) > 1 or claim.better == claim.than or claim.paired,
        counts=ours[0].scale(zoo) == "count",
        failures=claim.about == "failures",
    )
    # A decided claim is frozen at its look, whatever runs its rows get for others.
    judged = [(cell.first(verdict.seeds), measures) for cell, measures in compared]
    if trouble := _trouble([(cell, one) for cell, measures in judged for one in measures]):
        return Verdict(Outcome.OPEN, trouble)
    is_open = verdict.outcome is Outcome.OPEN
    waits = _waits([(cell, one) for cell, measures in compared for one in measures]) if is_open else ""
    gaps = [cell.from_real(measures, zoo) or 0.0 for cell, measures in judged]
    is_far = min(fmean(gaps[: len(settings)]), fmean(gaps[len(settings) :])) > math.log(FAR)
    return replace(verdict, why=waits or verdict.why, is_far=is_far)


def _waits(compared: Sequence[tuple[CellFound, Measure]]) -> str:
    """Which run or score is missing although it should be there, in a sentence; empty if none is."""
    runs = [(cell, one, run) for cell, one in compared for run in cell.runs.values()]
    if crashed := [run.record for *_, run in runs if run.record.has_crashed]:  # which says nothing about the method
        return f"A run failed without diverging: {crashed[0].error} `--retry` resumes it."
    missing = [one for cell, one, run in runs if cell.is_unscored(run, one)]
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
