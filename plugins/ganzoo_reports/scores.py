"""Which scores may be compared, and the final scores of a run as pages show them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ganzoo.config.checking import HEADLINES
from ganzoo.evaluation.protocol import compared, describe, excess
from ganzoo.evaluation.requests import better

Records = Sequence[Mapping[str, Any]]
REFERENCE = ("dataset", "dataset_options", "split", "reference_digest", "n_real", "n_fake")
HEADINGS: Mapping[str, str] = {
    "lower": "lower is better",
    "higher": "higher is better",
    "neither": "best at real vs real",
}
KINDS: Mapping[str, str] = {"ema": "averaged (ema)", "raw": "raw"}


@dataclass(frozen=True)
class MetricKey:
    """A metric and the protocol it was measured under."""

    name: str  # ``<metric>@<extractor>``
    key: str  # equal for scores that may be compared, and only for those
    protocol: str  # in one line
    reference: str = ""  # equal for scores, by any metric, of the same number of samples against the same real images

    @classmethod
    def of(cls, score: Mapping[str, Any]) -> MetricKey:
        """The metric and protocol of a score."""
        protocol = compared(score["protocol"])
        key = json.dumps([score["metric"], protocol], sort_keys=True, default=str)
        reference = json.dumps([protocol.get(one) for one in REFERENCE], default=str)
        return cls(score["metric"], key, describe(protocol), reference)

    @property
    def better(self) -> str:
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


@dataclass(frozen=True)
class FinalScore:
    """A metric at the end of a run."""

    metric: MetricKey
    values: Mapping[str, float]  # by kind of weights, the reported kind first
    floor: float | None  # real vs real: the score of real images
    excess: str  # how far the reported value is above real vs real, ± the standard deviation of real vs real
    interval: Sequence[float] | None  # 95% confidence interval of the mean score of other samples
    headline: bool  # whether it is one of the dataset's headline metrics

    @property
    def reported(self) -> str:
        """The kind of weights whose score counts."""
        return next(iter(self.values))

    @property
    def badness(self) -> float:
        """The sort key that orders reported scores by one metric and protocol from best to worst."""
        return self.metric.badness(self.values[self.reported], self.floor)


def final_table(scores: Records) -> list[FinalScore]:
    """Rows of the table of final scores: one for each metric, protocol and sample seed.

    The headline metrics by the recipe's own protocol come first, in their order; the other rows keep theirs.
    """
    rows = [_final(some) for some in by_protocol(scores).values()]
    own = {
        row.metric.name: row
        for row in reversed(rows)  # the first of several sample seeds
        if row.headline and row.metric.reference == rows[0].metric.reference
    }
    first = [own[name] for score in scores[:1] for name in _headlines(score) if name in own]
    return [*first, *(row for row in rows if row not in first)]


def _headlines(score: Mapping[str, Any]) -> tuple[str, ...]:
    return HEADLINES.get(str(score["protocol"].get("dataset")), ())


def _final(scores: Records) -> FinalScore:
    score = scores[0]
    metric, seed = MetricKey.of(score), score["protocol"].get("sample_seed")
    if seed:
        metric = replace(metric, protocol=f"{metric.protocol}, sample seed {seed}")
    values = {str(one["weights"]): float(one["value"]) for one in scores}
    floor = scores[-1].get("floor")
    return FinalScore(
        metric,
        values,
        floor,
        excess(values[score["weights"]], floor, scores[-1].get("sd")),
        score.get("interval"),
        metric.name in _headlines(score),
    )


def by_protocol(records: Records) -> dict[tuple[MetricKey, Any], list[Mapping[str, Any]]]:
    """Scores grouped by metric, protocol and sample seed, in the order of first appearance."""
    groups: dict[tuple[MetricKey, Any], list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault((MetricKey.of(record), record["protocol"].get("sample_seed")), []).append(record)
    return groups
