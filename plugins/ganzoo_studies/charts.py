"""The charts of studies and leaderboards: forest plots of claims, and quality over cost."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from ganzoo.files import MADE
from ganzoo.formatting import duration, figure, short
from ganzoo_reports.plots import (
    INK,
    LINE,
    MARKERS,
    REAL,
    SERIES,
    drawing,
    logarithmic,
    shortened,
    spread_out,
    svg,
)
from ganzoo_reports.templates import Absent
from ganzoo_studies.findings import Finding
from ganzoo_studies.ranking import Contender, Table
from ganzoo_studies.verdicts import LOOKS, WORTH_HAVING, Outcome, in_few_words

if TYPE_CHECKING:
    from matplotlib.figure import Figure

OUTCOMES = {
    Outcome.HELPS: (SERIES[2], "o"),
    Outcome.HURTS: (SERIES[5], "X"),
    Outcome.NO_DIFFERENCE: (SERIES[0], "s"),
    Outcome.DEPENDS: (SERIES[1], "P"),
    Outcome.OPEN: (REAL, "D"),
}
"""Colour and marker of each outcome."""
WIDTH, ROW, BELOW = 3.3, 0.27, 0.42
"""Inches: a forest plot is as wide as a phone, with two lines for each claim, and its axis below them."""
TICKS = ((2.0, 1.5), (4.0, 2.0), (10.0, 3.0))
"""A forest plot's axis reaches to one of these factors, with a tick between; what lies beyond is drawn at its edge."""


def forest(findings: Sequence[Finding], name: str = "effects", folder: str = "") -> Markup:
    """Every claim in a few words, with its effect, the interval that decides and, as small marks, its two views.

    Each links to its study's page in ``folder``, unless that is empty.
    """
    with _forest(findings, folder) as drawn:
        return svg(drawn, "The effect of each claim, with the interval that decides", name)


def forest_file(findings: Sequence[Finding], kind: str) -> bytes:
    """A forest plot as a file, ``svg`` or ``pdf``, black on white."""
    with _forest(findings, "") as drawn, BytesIO() as file:
        drawn.savefig(
            file,
            format=kind,
            facecolor="white",
            metadata={"Creator": MADE, "Date" if kind == "svg" else "CreationDate": None},
        )
        return file.getvalue()


@contextmanager
def _forest(findings: Sequence[Finding], folder: str) -> Iterator[Figure]:
    height = BELOW + ROW * len(findings)
    ends = [end for one in findings if one.verdict.interval for end in one.verdict.interval.ends]
    furthest = max((max(end, 1 / end) if end else math.inf for end in ends), default=0.0)
    reach, step = next((pair for pair in TICKS if pair[0] >= furthest), TICKS[-1])
    shown = 1 / reach, reach
    with drawing(WIDTH, height) as (canvas, axes):
        canvas.set_layout_engine("none")
        axes.set_position((0.04, BELOW / height, 0.62, 1 - BELOW / height))
        axes.axvspan(1 / WORTH_HAVING, WORTH_HAVING, color=LINE, alpha=0.4, linewidth=0)
        beside = axes.get_yaxis_transform()
        for at, one in enumerate(findings):
            verdict, (colour, marker) = one.verdict, OUTCOMES[one.verdict.outcome]
            label, url = one.label[0].upper() + one.label[1:], f"{folder}{one.study.name}.html" if folder else None
            axes.text(0, at - 0.3, shortened(label, 60), transform=beside, va="center", url=url)
            why = "too few seeds" if verdict.seeds < LOOKS[0] else "no interval"
            why = "withdrawn" if one.claim.withdrawn else why if verdict.seeds else "not tested"
            why = in_few_words(verdict, failures=one.claim.about == "failures") if verdict.interval else why
            axes.text(1.04, at + 0.2, why, transform=beside, va="center", color=colour, size=7.5)
            axes.plot([1, 1], [at + 0.05, at + 0.42], color=INK, linewidth=0.8)
            if verdict.interval:
                axes.plot(np.clip(verdict.interval.ends, *shown), [at + 0.2] * 2, color=colour, linewidth=1.8)
            for view, shape in zip(verdict.views, "^x", strict=False):
                axes.plot(np.clip(view.effect, *shown), at + 0.42, color=INK, marker=shape, markersize=2.8)
            if verdict.effect and verdict.interval:
                axes.plot(
                    np.clip(verdict.effect, *shown),
                    at + 0.2,
                    marker,
                    color=colour,
                    markersize=4.5,
                    fillstyle="none" if one.study.is_exploratory else "full",
                )
        axes.set_ylim(len(findings) - 0.4, -0.6)
        axes.set_yticks([])
        axes.spines["left"].set_visible(False)
        axes.set_xscale("log")
        axes.set_xlim(1 / reach / 1.05, reach * 1.05)
        axes.set_xticks([1 / reach, 1 / step, 1, step, reach], [*map(short, (reach, step, 1, step, reach))])
        axes.minorticks_off()
        axes.set_xlabel("← times worse · times better →")
        axes.grid(visible=False)
        yield canvas


@dataclass(frozen=True)
class Cost:
    """A cost, on the horizontal axis."""

    name: str  # in HTML ids
    label: str  # of the axis
    of: Callable[[Contender], float | None]  # a contender's cost, or None if it is unknown
    formatted: Callable[[float], str]
    is_clocked: bool = False  # whether it depends on the machine, so that it cannot be compared across machines


COSTS = (
    Cost("time", "seconds of training", lambda one: one.mean("seconds"), duration, True),
    Cost("flops", "floating-point operations of training", lambda one: one.flops, short),
)


@dataclass(frozen=True, eq=False)
class Point:
    """A recipe in a plot of quality over a cost."""

    name: str  # the recipe's
    hardware: str  # that it was trained on
    rank: int  # in the table
    x: float
    y: float


def quality_against(table: Table, cost: Cost, name: str) -> Markup | Absent:
    """Quality over a cost, both on logarithmic axes if possible; ``name`` identifies the plot within its page.

    Each point has a tooltip, and each hardware its own marker. The Pareto front of each is emphasised, with ranks.
    """
    points = points_of(table, cost)
    if not points:
        return Absent(f"The {cost.label} of these recipes are not known.")
    markers = dict(zip(dict.fromkeys(point.hardware for point in points), itertools.cycle(MARKERS), strict=False))
    fronts = [
        front([point for point in points if kind in (None, point.hardware)])
        for kind in (markers if cost.is_clocked else [None])
    ]
    best = [point for one in fronts for point in one]
    order = [*best, *(point for point in points if point not in best)]
    with drawing(5.6, 4.2) as (canvas, axes):
        for number, point in enumerate(order):
            colour = SERIES[number < len(best)]
            (dot,) = axes.plot(point.x, point.y, markers[point.hardware], color=colour, markersize=5, zorder=3)
            dot.set_gid(f"point-{number}")
        axes.margins(x=0.12, y=0.1)
        for one in fronts:
            axes.plot([p.x for p in one], [p.y for p in one], color=SERIES[1], linewidth=1, drawstyle="steps-post")
        # A line far below every point would leave the plot mostly empty; the text above the table gives its value too.
        floor = table.floor
        if floor is not None and not spread_out([floor, min(point.y for point in points)]):
            axes.axhline(floor, color=REAL, linewidth=1, linestyle=(0, (1, 2)))
            where = axes.get_yaxis_transform()
            axes.text(0.995, floor, "real vs real", transform=where, ha="right", va="bottom", color=INK, size=7.5)
        logarithmic(axes, "x")
        if table.metric.better == "lower" and all(point.y > 0 for point in points):
            logarithmic(axes, "y")
        axes.set(xlabel=cost.label, ylabel=f"{table.metric.name} ({table.metric.direction})")
        if len(markers) > 1:
            for kind, marker in markers.items():
                axes.plot([], [], marker, color=SERIES[0], label=shortened(kind, 80))
            canvas.legend(loc="outside upper left")
        for point in best:
            axes.annotate(str(point.rank), (point.x, point.y), (5, 4), textcoords="offset points", size=7.5)
        tooltips = {
            f"point-{n}": f"{p.name}: {figure(p.y)} after {cost.formatted(p.x)} on {p.hardware}"
            for n, p in enumerate(order)
        }
        return svg(canvas, f"{table.metric.name} over {cost.label}: {len(points)} recipes", name, tooltips)


def points_of(table: Table, cost: Cost) -> list[Point]:
    """The scores of a table with their costs, as far as the costs are known."""
    return [
        Point(place.contender.name, place.contender.newest.hardware, place.rank, x, place.mean)
        for place in table.places
        if place.mean is not None and place.rank and (x := cost.of(place.contender)) is not None and x > 0
    ]


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto front: points that no other point beats at the same cost or less, in order of cost."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, point.rank)):
        if not best or point.rank < best[-1].rank:
            best.append(point)
    return best
