"""Rankings of recipes: by the scores of one metric and protocol, and by the headline metrics side by side."""

from __future__ import annotations

import math
import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from statistics import fmean
from typing import Any

from ganzoo.config.checking import HEADLINES
from ganzoo.evaluation.protocol import excess
from ganzoo_reports.scores import MetricKey
from ganzoo_studies.records import RunRecord, ScoredRun

BETTER, WORSE = "▲", "▼"
DISAGREE = (
    f"{BETTER} and {WORSE} mark where views disagree: by this metric, the recipe ranks higher or lower than by the "
    "first one, by at least two places and more than a quarter of the table."
)
LONGEST = 60
"""Maximum length of the settings that tell contenders apart, in characters; longer ones are replaced by a digest."""
SHOWN_ANYWAY = tuple(f"train.{key}=" for key in ("seed", "precision", "threads", "engine", "device"))


@dataclass(frozen=True, eq=False)
class Contender:
    """Runs of one recipe on one dataset that differ only in their seeds: hardware, threads and so on are the same."""

    runs: tuple[ScoredRun, ...]  # at least one
    distinction: str = ""  # what sets it apart from contenders of the same recipe with other settings, if there are any

    @property
    def name(self) -> str:
        """The recipe's name, and what tells it apart."""
        return f"{self.newest.recipe} ({self.distinction})" if self.distinction else self.newest.recipe

    @property
    def newest(self) -> RunRecord:
        """The newest record of a finished run, or else of any run; it represents all in whatever no seed changes."""
        return (self.done or self.runs)[-1].record

    @cached_property
    def done(self) -> tuple[ScoredRun, ...]:
        """The runs that finished."""
        return tuple(run for run in self.runs if run.record.status == "done")

    @property
    def trouble(self) -> str | None:
        """What went wrong in the newest failed run, and the number of failures; None if no run failed."""
        failed = [run.record for run in self.runs if run.record.status == "failed"]
        if not failed:
            return None
        sentence = failed[-1].error or "It failed without a message."
        return sentence if len(self.runs) == 1 else f"{len(failed)} of {len(self.runs)} seeds failed: {sentence}"

    def mean(self, fact: str) -> float | None:
        """The mean of a fact of its finished runs, such as ``seconds``; None if it is known of none."""
        known = [value for run in self.done if (value := getattr(run.record, fact)) is not None]
        return fmean(known) if known else None

    @property
    def parameters(self) -> int:
        """Number of trainable parameters of all networks."""
        return sum(self.newest.parameters.values())

    @property
    def flops(self) -> float | None:
        """Floating-point operations of a complete run; None if they could not be counted."""
        per_image, images = self.newest.flops_per_image, self.mean("images")
        return None if per_image is None or images is None else per_image * images


@dataclass(frozen=True)
class Place:
    """A contender's result in one metric."""

    contender: Contender
    values: tuple[float, ...]  # the scores of the weights that are reported, one for each seed that has one
    floor: float | None  # real vs real: the score of real images, or None
    sd: float | None = None  # the standard deviation of real vs real; None if it is unknown
    rank: int | None = None  # from 1; equal scores share one; None if it has no score

    @property
    def mean(self) -> float | None:
        """The mean score, or None."""
        return fmean(self.values) if self.values else None

    @property
    def excess_in_words(self) -> str | None:
        """How far the mean score is above real vs real, ± the deviation of the latter: ``+0.19 ± 0.004``."""
        return None if self.mean is None or self.floor is None else excess(self.mean, self.floor, self.sd)


@dataclass(frozen=True)
class Table:
    """All contenders on one dataset in one metric and protocol, the best first, those without a score last."""

    metric: MetricKey
    places: tuple[Place, ...]

    @property
    def scored(self) -> list[Place]:
        """The places with a rank."""
        return [place for place in self.places if place.rank is not None]

    @property
    def floor(self) -> float | None:
        """The score of real images, or None."""
        return next((place.floor for place in self.places if place.floor is not None), None)

    def place_of(self, contender: Contender) -> Place:
        """A contender's place."""
        return next(place for place in self.places if place.contender is contender)


@dataclass(frozen=True)
class Ranking:
    """The leaderboard of one dataset, either of recipes that are given labels or of those that are not.

    A recipe that is given labels draws every class equally often without having learned to, so the two are ranked
    separately.
    """

    dataset: str
    labelled: bool
    contenders: tuple[Contender, ...]  # in the order of the first table
    tables: tuple[Table, ...]
    """One for each metric and protocol; the first one ranks. Headline metrics come first, except those that have scored
    fewer than half as many contenders as the most frequent metric."""
    views: tuple[Table, ...]  # the headline's tables that share the first one's reference and counts, in order

    @property
    def title(self) -> str:
        """The dataset, and whether labels were given."""
        return f"{self.dataset}, with labels" if self.labelled else self.dataset

    @cached_property
    def marks(self) -> Mapping[tuple[Contender, int], str]:
        """Where views disagree, by the contender and the view's number; see ``DISAGREE``.

        Ranks are taken among the contenders that have a score in every view.
        """
        shared = {one for one in self.contenders if all(view.place_of(one).rank for view in self.views)}
        ranks = [_ranks(view.metric, [view.place_of(one) for one in shared]) for view in self.views]
        far = max(1.0, len(shared) / 4)
        return {
            (one, number): BETTER if own[one] < ranks[0][one] else WORSE
            for number, own in enumerate(ranks)
            for one in shared
            if abs(own[one] - ranks[0][one]) > far
        }


def rankings(runs: Sequence[ScoredRun]) -> list[Ranking]:
    """A leaderboard for each dataset, without labels and with; the dataset with the most contenders comes first."""
    grouped: dict[tuple[str, bool], dict[tuple[Any, ...], list[ScoredRun]]] = {}
    for run in runs:
        record = run.record
        # Runs for which `auto` was resolved differently share a digest but get separate rows: a row never mixes them.
        threads = None if record.environment.get("gpu") else record.threads
        key = record.recipe, record.digest, record.hardware, record.precision, threads, record.engine
        grouped.setdefault((record.dataset, record.conditional), {}).setdefault(key, []).append(run)
    made = [
        _ranking(dataset, labelled, [Contender(tuple(alike)) for alike in by_key.values()])
        for (dataset, labelled), by_key in grouped.items()
    ]
    sizes = Counter(ranking.dataset for ranking in made for _ in ranking.contenders)
    return sorted(made, key=lambda ranking: (-sizes[ranking.dataset], ranking.dataset, ranking.labelled))


def _ranking(dataset: str, labelled: bool, contenders: Sequence[Contender]) -> Ranking:
    # If one recipe has several settings, each is named by its `--set`, or else by its digest.
    records = [one.newest for one in contenders]
    named = [
        replace(
            one, distinction=_distinction(one.newest, [other for other in records if other.recipe == one.newest.recipe])
        )
        for one in contenders
    ]
    have = Counter(
        metric
        for contender in named
        for metric in dict.fromkeys(MetricKey.of(score) for run in contender.done for score in run.scores)
    )
    listed = {name: number for number, name in enumerate(HEADLINES.get(dataset, ()))}
    most = max(have.values(), default=0)
    # A headline metric that has scored few contenders so far must not come first.
    metrics = sorted(have, key=lambda one: (2 * have[one] < most, listed.get(one.name, len(listed)), -have[one]))
    tables = tuple(_table(metric, named) for metric in metrics)
    order = tuple(place.contender for place in tables[0].places) if tables else tuple(named)
    views = list(tables[:1])
    for name in listed:
        # Of each other metric of the headline, the first table with the same reference and counts.
        beside = [one for one in tables if one.metric.name == name != tables[0].metric.name]
        views += [one for one in beside if one.metric.reference == tables[0].metric.reference][:1]
    return Ranking(dataset, labelled, order, tables, tuple(views))


def _distinction(record: RunRecord, alike: Sequence[RunRecord]) -> str:
    """What distinguishes a record from others of its recipe; empty if its settings are theirs."""
    if len({one.digest for one in alike}) == 1:
        return ""
    words = {one.digest: _settings(one.command) for one in alike}
    ours = words[record.digest]
    own = ", ".join(word for word in ours if not all(word in others for others in words.values()))
    is_alone = [*words.values()].count(ours) == 1
    return own if is_alone and len(own) <= LONGEST else record.digest[:8]


def _settings(command: str) -> list[str]:
    """The ``--set`` values of a command, except those that may differ within a contender or that its row shows."""
    try:
        words = shlex.split(command)
    except ValueError:
        return []
    values = [value for word, value in pairwise(words) if word == "--set"]
    return [value for value in values if not value.startswith(SHOWN_ANYWAY)]


def _table(metric: MetricKey, contenders: Sequence[Contender]) -> Table:
    places = [_place(metric, contender) for contender in contenders]
    ranks = _ranks(metric, places)
    ranked = [replace(place, rank=ranks.get(place.contender)) for place in places]
    # Contenders that finished without this score come before those that failed.
    return Table(metric, tuple(sorted(ranked, key=lambda place: (place.rank or math.inf, not place.contender.done))))


def _place(metric: MetricKey, contender: Contender) -> Place:
    # Of a run's scores, that of its own sample seed and of the weights that it reports comes first.
    firsts = [next((one for one in run.scores if MetricKey.of(one) == metric), None) for run in contender.done]
    scores = [score for score in firsts if score is not None]
    floor, sd = (next((one[key] for one in scores if one.get(key) is not None), None) for key in ("floor", "sd"))
    return Place(contender, tuple(score["value"] for score in scores), floor, sd)


def _ranks(metric: MetricKey, places: Sequence[Place]) -> dict[Contender, int]:
    """The rank of each contender among these places alone, without those that have no score."""
    badness = {
        place.contender: metric.badness(mean, place.floor) for place in places if (mean := place.mean) is not None
    }
    return {one: 1 + sum(other < own for other in badness.values()) for one, own in badness.items()}
