"""Plots of quality against cost, and against another view of quality, with one point per contender."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from markupsafe import Markup

from ganzoo.formatting import duration, figure, short
from ganzoo_reports.plots import INK, REAL, SERIES, box, drawing, logarithmic, shortened, spread_out, svg
from ganzoo_reports.templates import Absent
from ganzoo_studies.ranking import Contender, Place, Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MARKERS = "osD^vP"
CORNERS = ((6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"))
"""Possible offsets of a label from its point, in typographic points: right, left, above, below."""


@dataclass(frozen=True)
class Cost:
    """A cost, on the horizontal axis."""

    name: str  # in HTML ids
    label: str  # of the axis
    of: Callable[[Contender], float | None]  # a contender's cost, or None if it is unknown
    formatted: Callable[[float], str]
    is_clocked: bool = False  # whether it depends on the machine, so that it cannot be compared across machines


COSTS = (
    Cost("time", "seconds of training", lambda one: one.seconds.mean if one.seconds else None, duration, True),
    Cost("flops", "floating-point operations of training", lambda one: one.flops, short),
)


@dataclass(frozen=True)
class _Point:
    place: Place
    x: float
    y: float

    @property
    def recipe(self) -> str:
        return self.place.contender.name

    @property
    def hardware(self) -> str:
        return self.place.contender.newest.hardware


def quality_against(table: Table, cost: Cost, name: str) -> Markup | Absent:
    """Quality over a cost, both on logarithmic axes if possible.

    Args:
        table: The scores.
        cost: The cost on the horizontal axis.
        name: Name of the plot within its page.
    """
    points = points_of(table, cost)
    if not points:
        return Absent(f"The {cost.label} of these recipes are not known.")
    floor = table.floor
    machines = dict.fromkeys(point.hardware for point in points) if cost.is_clocked else [None]
    fronts = [front(table, [p for p in points if kind in (None, p.hardware)]) for kind in machines]

    def set_axes(axes: Axes) -> None:
        for best in fronts:
            axes.plot([p.x for p in best], [p.y for p in best], color=SERIES[1], linewidth=1, drawstyle="steps-post")
        # A line far below every point would leave the plot mostly empty; the text above the table gives its value too.
        if floor is not None and not spread_out([floor, min(point.y for point in points)]):
            axes.axhline(floor, color=REAL, linewidth=1, linestyle=(0, (1, 2)))
            where = axes.get_yaxis_transform()
            axes.text(0.995, floor, "real vs real", transform=where, ha="right", va="bottom", color=INK, size=7.5)
        logarithmic(axes, "x")
        if table.metric.better == "lower" and all(point.y > 0 for point in points):
            logarithmic(axes, "y")
        axes.set(xlabel=cost.label, ylabel=f"{table.metric.name} ({table.metric.direction})")

    best = [point for one in fronts for point in one]
    order = [*best, *(point for point in points if point not in best)]
    words = [f"{figure(point.y)} after {cost.formatted(point.x)} on {point.hardware}" for point in order]
    return _plot(order, words, fronts, set_axes, f"{table.metric.name} over {cost.label}", name)


def views_against_one_another(first: Table, other: Table, name: str) -> Markup | Absent:
    """Scores in two views of the headline: if the views agree, the points follow a curve.

    Args:
        first: The view on the horizontal axis.
        other: The view on the vertical axis.
        name: Name of the plot within its page.
    """
    points = [
        _Point(place, place.value.mean, value.mean)
        for place in first.scored
        if place.value is not None and (value := other.place_of(place.contender).value) is not None
    ]
    if not points:
        return Absent(f"No recipe has scores of both {first.metric.name} and {other.metric.name}.")

    def set_axes(axes: Axes) -> None:
        xs, ys = [point.x for point in points], [point.y for point in points]
        if first.metric.better == "lower" and min(xs) > 0 and spread_out(xs):
            logarithmic(axes, "x")
        if other.metric.better == "lower" and min(ys) > 0 and spread_out(ys):
            logarithmic(axes, "y")
        labels = [f"{table.metric.name} ({table.metric.direction})" for table in (first, other)]
        axes.set(xlabel=labels[0], ylabel=labels[1])

    words = [f"{first.metric.name} {figure(point.x)}, {other.metric.name} {figure(point.y)}" for point in points]
    return _plot(points, words, (), set_axes, f"{other.metric.name} against {first.metric.name}", name)


def points_of(table: Table, cost: Cost) -> list[_Point]:
    """The scores of a table with their costs, as far as the costs are known."""
    return [
        _Point(place, x, place.value.mean)
        for place in table.scored
        if place.value is not None and (x := cost.of(place.contender)) is not None and x > 0
    ]


def front(table: Table, points: Sequence[_Point]) -> list[_Point]:
    """The Pareto front: points that no other point beats at the same cost or less, in order of cost."""
    badness = {id(point): table.metric.badness(point.y, point.place.floor) for point in points}
    best: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.x, badness[id(point)])):
        if not best or badness[id(point)] < badness[id(best[-1])]:
            best.append(point)
    return best


def _plot(
    points: Sequence[_Point],
    words: Sequence[str],
    fronts: Sequence[Sequence[_Point]],
    set_axes: Callable[[Axes], None],
    title: str,
    name: str,
) -> Markup:
    """Points, each with a tooltip; those of the fronts come first and are emphasised; each hardware has its own marker.

    Points are labelled with their names while there is room, in order; the others have only their tooltips.
    """
    kinds = dict.fromkeys(point.hardware for point in points)
    markers = {kind: MARKERS[number % len(MARKERS)] for number, kind in enumerate(kinds)}
    emphasised = sum(map(len, fronts))
    with drawing(5.6, 4.2) as (canvas, axes):
        for number, point in enumerate(points):
            colour = SERIES[number < emphasised]
            (dot,) = axes.plot(point.x, point.y, markers[point.hardware], color=colour, markersize=5, zorder=3)
            dot.set_gid(f"point-{number}")
        axes.margins(x=0.12, y=0.1)
        set_axes(axes)
        if len(markers) > 1:
            for kind, marker in markers.items():
                axes.plot([], [], marker, color=SERIES[0], label=shortened(kind, 80))
            canvas.legend(loc="outside upper left")
        canvas.draw_without_rendering()
        # The front's line goes right from each point, then down to the next.
        steps = [((a.x, a.y), (b.x, a.y), (b.x, b.y)) for best in fronts for a, b in pairwise(best)]
        taken = [box(axes, (point.x, point.y), (point.x, point.y), 3) for point in points]
        taken += [box(axes, start, end, 0.5) for a, corner, b in steps for start, end in ((a, corner), (corner, b))]
        inside = axes.get_window_extent()
        for number, point in enumerate(points):
            others = [*taken[:number], *taken[number + 1 :]]
            for dx, dy, across, along in CORNERS:
                label = axes.annotate(
                    shortened(point.recipe, 32),
                    (point.x, point.y),
                    (dx, dy),
                    textcoords="offset points",
                    ha=across,
                    va=along,
                    size=7.5,
                    color=INK,
                    annotation_clip=False,
                )
                room = label.get_window_extent()
                fits = inside.contains(room.x0, room.y0) and inside.contains(room.x1, room.y1)
                if fits and not room.count_overlaps(others):
                    taken.append(room)
                    break
                label.remove()
        tooltips = {f"point-{n}": f"{point.recipe}: {words[n]}" for n, point in enumerate(points)}
        return svg(canvas, f"{title}: {len(points)} recipes", name, tooltips)
