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
from ganzoo.studies.records import RunRecord, ScoreRecord

if TYPE_CHECKING:
    from ganzoo.api.metric import Better

NEEDED = ("metric", "value", "weights", "images", "seconds", "protocol")
HEADINGS: Mapping[str, str] = {"lower": "lower is better", "higher": "higher is better", "neither": "the floor is best"}


@dataclass(frozen=True)
class Measure:
    """A metric and the protocol it was measured under.

    Attributes:
        metric: ``<metric>@<extractor>``.
        key: Equal for scores that may be compared, and only for those.
        told: The protocol in one line.
    """

    metric: str
    key: str
    told: str

    @classmethod
    def of(cls, metric: str, protocol: Mapping[str, Any]) -> Measure:
        """What a score measures."""
        compared = {key: value for key, value in protocol.items() if key not in NOT_COMPARED}
        return cls(metric, json.dumps([metric, compared], sort_keys=True, default=str), _told(compared))

    @property
    def better(self) -> Better:
        """Which way is better; lower where nobody said."""
        return better(self.metric.partition("@")[0])

    @property
    def direction(self) -> str:
        """The same in words."""
        return HEADINGS[self.better]

    def badness(self, value: float, floor: float | None) -> float:
        """What sorts scores from the best to the worst."""
        if self.better == "neither":
            return abs(value - (floor or 0.0))
        return value if self.better == "lower" else -value


def _told(protocol: Mapping[str, Any]) -> str:
    try:
        return describe(protocol)
    except (KeyError, TypeError, ValueError):
        return ", ".join(f"{key} {value}" for key, value in protocol.items()) or "not stated"


def whole(scores: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The scores that have everything a page tells of them."""
    return [
        score
        for score in scores
        if all(score.get(key) is not None for key in NEEDED)
        and isinstance(score["value"], int | float)
        and isinstance(score["protocol"], Mapping)
    ]


def times(value: float, floor: float | None) -> float | None:
    """How many times the floor a value is, None where that says nothing."""
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
    """The runs of one recipe on one dataset and one kind of hardware: they differ in nothing but their seeds.

    Attributes:
        runs: At least one.
    """

    runs: tuple[RunRecord, ...]

    @property
    def newest(self) -> RunRecord:
        """The run that speaks for all in what does not depend on the seed."""
        return self.runs[-1]

    @cached_property
    def done(self) -> tuple[RunRecord, ...]:
        """The runs that ended well."""
        return tuple(run for run in self.runs if run.status == "done")

    @cached_property
    def failed(self) -> tuple[RunRecord, ...]:
        """Those that did not."""
        return tuple(run for run in self.runs if run.status == "failed")

    @property
    def trouble(self) -> str | None:
        """What went wrong in the newest failed run, and in how many, None where all is well."""
        if not self.failed:
            return None
        sentence = self.failed[-1].error or "It failed without a word."
        return sentence if len(self.runs) == 1 else f"{len(self.failed)} of {len(self.runs)} seeds failed: {sentence}"

    @property
    def seconds(self) -> Spread | None:
        """Training time."""
        return Spread.of(run.seconds for run in self.done)

    @property
    def images(self) -> Spread | None:
        """Real images shown."""
        return Spread.of(run.images for run in self.done)

    @property
    def speed(self) -> Spread | None:
        """Images a second."""
        return Spread.of(run.images_per_second for run in self.done)

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
    """How a contender did in one measure.

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
        """The reported score over the floor."""
        return None if self.value is None else times(self.value.mean, self.floor)


@dataclass(frozen=True)
class Table:
    """All contenders on one dataset in one measure, the best first, those without a score last.

    Attributes:
        measure: The metric and its protocol.
        places: One for each contender.
    """

    measure: Measure
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
class Board:
    """One dataset's leaderboard.

    Attributes:
        dataset: Its name.
        contenders: In the order of the first table.
        tables: One for each measure, the one that most have first.
    """

    dataset: str
    contenders: tuple[Contender, ...]
    tables: tuple[Table, ...]


def boards(records: Sequence[RunRecord]) -> list[Board]:
    """A leaderboard for each dataset, the one with most contenders first."""
    by_dataset: dict[str, dict[tuple[str, str, str], list[RunRecord]]] = {}
    for record in records:
        key = record.recipe, record.digest, record.hardware
        by_dataset.setdefault(record.dataset, {}).setdefault(key, []).append(record)
    made = [
        _board(dataset, [Contender(tuple(runs)) for runs in by_key.values()]) for dataset, by_key in by_dataset.items()
    ]
    return sorted(made, key=lambda board: -len(board.contenders))


def _board(dataset: str, contenders: Sequence[Contender]) -> Board:
    have: dict[Measure, int] = {}
    for contender in contenders:
        for measure in dict.fromkeys(_measure(score) for run in contender.done for score in run.scores):
            have[measure] = have.get(measure, 0) + 1
    tables = tuple(_table(measure, contenders) for measure in sorted(have, key=lambda measure: -have[measure]))
    order = tuple(place.contender for place in tables[0].places) if tables else tuple(contenders)
    return Board(dataset, order, tables)


def _table(measure: Measure, contenders: Sequence[Contender]) -> Table:
    places = [_place(measure, contender) for contender in contenders]
    scored = [place for place in places if place.value is not None]
    badness = {id(place): _badness(measure, place) for place in scored}
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
    return Table(measure, (*ranked, *rest))


def _badness(measure: Measure, place: Place) -> float:
    assert place.value is not None
    return measure.badness(place.value.mean, place.floor)


def _place(measure: Measure, contender: Contender) -> Place:
    scores = [score for run in contender.done for score in run.scores if _measure(score) == measure]
    kinds = dict.fromkeys(score.weights for score in scores)
    values = {
        kind: spread
        for kind in kinds
        if (spread := Spread.of(score.value for score in scores if score.weights == kind)) is not None
    }
    floor = next((score.floor for score in scores if score.floor is not None), None)
    return Place(contender, None, values, next(iter(kinds), None), floor)


def _measure(score: ScoreRecord) -> Measure:
    return Measure.of(score.metric, score.protocol)
