"""Which scores may be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ganzoo.evaluation.protocol import compared, describe
from ganzoo.evaluation.requests import better

if TYPE_CHECKING:
    from ganzoo.api.metric import Better

REFERENCE = ("dataset", "dataset_options", "split", "reference_digest", "n_real", "n_fake")
NEEDED = ("metric", "value", "weights", "images", "seconds", "protocol")
HEADINGS: Mapping[str, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "neither": "best at real vs real",
}


@dataclass(frozen=True)
class MetricKey:
    """A metric and the protocol it was measured under.

    Attributes:
        name: ``<metric>@<extractor>``.
        key: Equal for scores that may be compared, and only for those.
        protocol: The protocol in one line.
        reference: Equal for scores, by any metric, of the same number of samples against the same real images.
    """

    name: str
    key: str
    protocol: str
    reference: str = ""

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> MetricKey:
        """The metric and protocol of a score."""
        protocol = compared(score["protocol"])
        key = json.dumps([score["metric"], protocol], sort_keys=True, default=str)
        reference = json.dumps([protocol.get(one) for one in REFERENCE], default=str)
        return cls(score["metric"], key, describe(protocol), reference)

    @property
    def better(self) -> Better:
        """Which direction is better; lower for an unknown metric."""
        return better(self.name.partition("@")[0])

    @property
    def direction(self) -> str:
        """The same in words."""
        return HEADINGS[self.better]

    def badness(self, value: float, floor: float | None) -> float:
        """The sort key that orders scores from best to worst."""
        if self.better == "neither":
            return abs(value - (floor or 0.0))
        return value if self.better == "lower" else -value


def whole(scores: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The scores that have every field that a page shows."""
    return [
        score
        for score in scores
        if all(score.get(key) is not None for key in NEEDED)
        and isinstance(score["value"], int | float)
        and isinstance(score["protocol"], Mapping)
    ]
