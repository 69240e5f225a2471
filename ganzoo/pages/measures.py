"""What scores may stand in one column: those of one metric under one protocol."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganzoo.evaluation.protocol import NOT_COMPARED, describe
from ganzoo.sections import METRICS

if TYPE_CHECKING:
    from ganzoo.sections import Better

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
        return METRICS.get(self.metric.partition("@")[0], "lower")

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
