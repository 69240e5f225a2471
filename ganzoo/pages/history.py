"""A run's events and scores as curves."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from ganzoo.pages.measures import Measure
from ganzoo.pages.plots import Line, curves, spread_out
from ganzoo.pages.rendering import Absent

AXES: Mapping[str, str] = {"images": "images shown", "seconds": "seconds of training"}
FEWEST = 2

Records = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Plots:
    """One thing over images and over seconds.

    Attributes:
        heading: What it is.
        note: Said below the heading, or empty.
        pictures: The plots.
    """

    heading: str
    note: str
    pictures: tuple[Markup, ...]


def losses(events: Records) -> Plots | Absent:
    """Each phase's loss, or why there is no curve."""
    logged = [event for event in events if event.get("event") == "train"]
    names = [name for name in _names(logged) if name.endswith(".loss")]
    series = {name.removesuffix(".loss"): [event for event in logged if name in event] for name in names}
    if max(map(len, series.values()), default=0) < FEWEST:
        return Absent("The run ended before it had logged two losses, so there is no curve.")
    pictures = tuple(
        curves(
            [_line(name, some, along, f"{name}.loss") for name, some in series.items()],
            title=f"Losses over {label}",
            x=label,
            y="loss",
            name=f"losses-{along}",
        )
        for along, label in AXES.items()
    )
    return Plots("Losses", "Means since the log point before.", pictures)


def scores(records: Records) -> list[Plots]:
    """Each metric's curve for each kind of weights, with its floor; a metric that was measured once has none."""
    by_measure: dict[Measure, list[Mapping[str, Any]]] = {}
    for record in records:
        by_measure.setdefault(Measure.of(record["metric"], record["protocol"]), []).append(record)
    several = {measure: some for measure, some in by_measure.items() if len({one["images"] for one in some}) >= FEWEST}
    return [_scores(number, measure, some) for number, (measure, some) in enumerate(several.items())]


def _scores(number: int, measure: Measure, records: Records) -> Plots:
    kinds = dict.fromkeys(str(record["weights"]) for record in records)
    by_kind = {kind: _last_at_each(record for record in records if str(record["weights"]) == kind) for kind in kinds}
    floor = records[-1].get("floor")
    pictures = tuple(
        curves(
            [_line(kind, some, along, "value") for kind, some in by_kind.items()],
            title=f"{measure.metric} over {label}",
            x=label,
            y=measure.metric,
            name=f"score-{number}-{along}",
            floor=floor,
            log=spread_out([*(record["value"] for record in records), floor or 0]),
        )
        for along, label in AXES.items()
    )
    return Plots(measure.metric, f"{measure.direction}; {measure.told}", pictures)


def health(events: Records) -> list[Plots]:
    """Gradient norms, and the samples' variety beside that of real images."""
    watched = [event for event in events if event.get("event") == "health"]
    gradients = [{"images": event["images"], **_owned(event["gradients"])} for event in watched if "gradients" in event]
    shares = [{"images": event["images"], **_shares(event)} for event in watched if "variety" in event]
    told = {
        "Gradient norms": ("Of each network, in the turn of each phase.", gradients, "norm"),
        "Variety of samples": ("As a share of the variety of as many real images: 1 is best.", shares, "share"),
    }
    return [
        Plots(heading, note, (_over_images(heading, records, y),))
        for heading, (note, records, y) in told.items()
        if len(records) >= FEWEST
    ]


def _over_images(heading: str, records: Records, y: str) -> Markup:
    names = [name for name in _names(records) if name != "images"]
    lines = [_line(name, [one for one in records if name in one], "images", name) for name in names]
    values = [value for line in lines for value in line.y]
    title, name = f"{heading} over {AXES['images']}", heading.lower().replace(" ", "-")
    return curves(lines, title=title, x=AXES["images"], y=y, name=name, log=y == "norm" and spread_out(values))


def _owned(norms: Mapping[str, float]) -> dict[str, float]:
    """Norms by their network, and by the phase where that is called otherwise."""
    parts = {name: name.rpartition(".") for name in norms}
    return {role if phase == role else f"{role}, {phase}": norms[name] for name, (phase, _, role) in parts.items()}


def _shares(event: Mapping[str, Any]) -> dict[str, float]:
    seen, real = event["variety"], event.get("real_variety", {})
    return {name: seen[name] / real[name] for name in seen if name != "samples" and real.get(name)}


def _line(name: str, records: Records, along: str, of: str) -> Line:
    placed = [record for record in records if _is_number(record.get(along)) and _is_number(record[of])]
    return Line(name, [record[along] for record in placed], [record[of] for record in placed])


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _names(records: Records) -> list[str]:
    return list(dict.fromkeys(name for record in records for name in record))


def _last_at_each(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """One score for each point: `ganzoo eval` may have measured one again."""
    latest = {record["images"]: record for record in records}
    return [latest[images] for images in sorted(latest)]
