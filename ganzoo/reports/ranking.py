"""Which recipe ranks where: scores of one metric and protocol side by side."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any

from ganzoo.evaluation.metrics import better
from ganzoo.evaluation.protocol import NOT_COMPARED, describe
from ganzoo.studies.records import RunRecord, ScoredRun

if TYPE_CHECKING:
    from ganzoo.api.metric import Better

NEEDED = ("metric", "value", "weights", "images", "seconds", "protocol")
HEADINGS: Mapping[str, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "neither": "real-vs-real is best",
}


@dataclass(frozen=True)
class MetricKey:
    """A metric and the protocol it was measured under.

    Attributes:
        name: ``<metric>@<extractor>``.
        key: Equal for scores that may be compared, and only for those.
        protocol: The protocol in one line.
    """

    name: str
    key: str
    protocol: str

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> MetricKey:
        """What a score measures."""
        compared = {key: value for key, value in score["protocol"].items() if key not in NOT_COMPARED}
        key = json.dumps([score["metric"], compared], sort_keys=True, default=str)
        return cls(score["metric"], key, describe(compared))

    @property
    def better(self) -> Better:
        """Which way is better; lower for a metric that is not known."""
        return better(self.name.partition("@")[0])

    @property
    def direction(self) -> str:
        """The same in words."""
        return HEADINGS[self.better]

    def badness(self, value: float, floor: float | None) -> float:
        """What sorts scores from the best to the worst."""
        if self.better == "neither":
            return abs(value - (floor or 0.0))
        return value if self.better == "lower" else -value


def whole(scores: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The scores that have everything a page shows."""
    return [
        score
        for score in scores
        if all(score.get(key) is not None for key in NEEDED)
        and isinstance(score["value"], int | float)
        and isinstance(score["protocol"], Mapping)
    ]


def times(value: float, floor: float | None) -> float | None:
    """A score over that of real images, None where real images have none or score zero."""
    return value / floor if floor else None


@dataclass(frozen=True)
class Spread:
    """What several seeds gave.

    Attributes:
        mean: Over the seeds.
        low: The lowest.
        high: The highest.
        seeds: How many there are.
    """

    mean: float
    low: float
    high: float
    seeds: int

    @classmethod
    def of(cls, values: Iterable[float | None]) -> Spread | None:
        """Of those that are known; None where none is."""
        known = [value for value in values if value is not None]
        return cls(fmean(known), min(known), max(known), len(known)) if known else None


@dataclass(frozen=True)
class Contender:
    """The runs of one recipe on one dataset, alike in hardware, threads, precision and engine: only their seeds differ.

    Attributes:
        runs: At least one.
    """

    runs: tuple[ScoredRun, ...]

    @property
    def newest(self) -> RunRecord:
        """The record that stands for all in what does not depend on the seed."""
        return self.runs[-1].record

    @cached_property
    def done(self) -> tuple[ScoredRun, ...]:
        """The runs that ended well."""
        return tuple(run for run in self.runs if run.record.status == "done")

    @cached_property
    def failed(self) -> tuple[ScoredRun, ...]:
        """Those that did not."""
        return tuple(run for run in self.runs if run.record.status == "failed")

    @property
    def trouble(self) -> str | None:
        """What went wrong in the newest failed run, and in how many, None where all is well."""
        if not self.failed:
            return None
        sentence = self.failed[-1].record.error or "It failed without a message."
        return sentence if len(self.runs) == 1 else f"{len(self.failed)} of {len(self.runs)} seeds failed: {sentence}"

    @property
    def seconds(self) -> Spread | None:
        """Training time."""
        return Spread.of(run.record.seconds for run in self.done)

    @property
    def images(self) -> Spread | None:
        """Real images shown."""
        return Spread.of(run.record.images for run in self.done)

    @property
    def speed(self) -> Spread | None:
        """Images/s."""
        return Spread.of(run.record.images_per_second for run in self.done)

    @property
    def parameters(self) -> int:
        """Trainable numbers of all networks."""
        return sum(self.newest.parameters.values())

    @property
    def flops(self) -> float | None:
        """Floating-point operations of a whole training, None where they could not be counted."""
        per_image = self.newest.flops_per_image
        return None if per_image is None or self.images is None else per_image * self.images.mean


@dataclass(frozen=True)
class Place:
    """A contender's result in one metric.

    Attributes:
        contender: Who.
        rank: From 1; equal scores share one. None where it has no score.
        values: By kind of weights.
        reported: The kind of weights that counts; None where there is no score.
        floor: What real images score, or None.
    """

    contender: Contender
    rank: int | None
    values: Mapping[str, Spread]
    reported: str | None
    floor: float | None

    @property
    def value(self) -> Spread | None:
        """The reported score."""
        return None if self.reported is None else self.values[self.reported]

    @property
    def times(self) -> float | None:
        """The reported score over that of real images."""
        return None if self.value is None else times(self.value.mean, self.floor)


@dataclass(frozen=True)
class Table:
    """All contenders on one dataset in one metric, the best first, those without a score last.

    Attributes:
        metric: The metric and its protocol.
        places: One for each contender.
    """

    metric: MetricKey
    places: tuple[Place, ...]

    @property
    def scored(self) -> list[Place]:
        """Those that have a rank."""
        return [place for place in self.places if place.rank is not None]

    @property
    def floor(self) -> float | None:
        """What real images score."""
        return next((place.floor for place in self.places if place.floor is not None), None)


@dataclass(frozen=True)
class Ranking:
    """One dataset's leaderboard.

    Attributes:
        dataset: Its name.
        contenders: In the order of the first table.
        tables: One for each metric, the one that most have first.
    """

    dataset: str
    contenders: tuple[Contender, ...]
    tables: tuple[Table, ...]


def rankings(runs: Sequence[ScoredRun]) -> list[Ranking]:
    """A leaderboard for each dataset, the one with most contenders first."""
    by_dataset: dict[str, dict[tuple[Any, ...], list[ScoredRun]]] = {}
    for run in runs:
        by_dataset.setdefault(run.record.dataset, {}).setdefault(_contender_key(run.record), []).append(run)
    made = [
        _ranking(dataset, [Contender(tuple(alike)) for alike in by_key.values()])
        for dataset, by_key in by_dataset.items()
    ]
    return sorted(made, key=lambda ranking: -len(ranking.contenders))


def _contender_key(record: RunRecord) -> tuple[Any, ...]:
    # What `auto` became does not make another run, but another row: a table never mixes it.
    threads = None if record.environment.get("gpu") else record.threads
    return record.recipe, record.digest, record.hardware, record.precision, threads, record.engine


def _ranking(dataset: str, contenders: Sequence[Contender]) -> Ranking:
    have: dict[MetricKey, int] = {}
    for contender in contenders:
        for metric in dict.fromkeys(MetricKey.of(score) for run in contender.done for score in run.scores):
            have[metric] = have.get(metric, 0) + 1
    tables = tuple(_table(metric, contenders) for metric in sorted(have, key=lambda metric: -have[metric]))
    order = tuple(place.contender for place in tables[0].places) if tables else tuple(contenders)
    return Ranking(dataset, order, tables)


def _table(metric: MetricKey, contenders: Sequence[Contender]) -> Table:
    places = [_place(metric, contender) for contender in contenders]
    scored = [place for place in places if place.value is not None]
    badness = {id(place): _badness(metric, place) for place in scored}
    ranked = [
        Place(
            place.contender,
            1 + sum(other < badness[id(place)] for other in badness.values()),
            place.values,
            place.reported,
            place.floor,
        )
        for place in sorted(scored, key=lambda place: badness[id(place)])
    ]
    # Those that ended without this score before those that failed.
    rest = sorted((place for place in places if place.value is None), key=lambda place: not place.contender.done)
    return Table(metric, (*ranked, *rest))


def _badness(metric: MetricKey, place: Place) -> float:
    assert place.value is not None
    return metric.badness(place.value.mean, place.floor)


def _place(metric: MetricKey, contender: Contender) -> Place:
    values: dict[str, list[float]] = {}
    floor = None
    for run in contender.done:
        # One for each kind of weights: of scores with several sample seeds the run's own, which comes first.
        first: dict[str, dict[str, Any]] = {}
        for score in run.scores:
            if MetricKey.of(score) == metric:
                first.setdefault(score["weights"], score)
        for kind, score in first.items():
            values.setdefault(kind, []).append(score["value"])
            floor = score["floor"] if floor is None else floor
    spreads = {kind: spread for kind, several in values.items() if (spread := Spread.of(several)) is not None}
    return Place(contender, None, spreads, next(iter(spreads), None), floor)
