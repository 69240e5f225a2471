"""Quality against what it cost, and against another view of quality: one point a contender."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from markupsafe import Markup
from matplotlib.transforms import Bbox

from ganzoo.reports.formatting import duration, figure, short
from ganzoo.reports.plots import INK, REAL, SERIES, drawing, logarithmic, shortened, spread_out, svg
from ganzoo.reports.ranking import Contender, Place, Table
from ganzoo.reports.templates import Absent

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation

MARKERS = "osD^vP"
CORNERS = ((6, 0, "left", "center"), (-6, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"))
"""Where a label may stand beside its point: right, left, above, below; in points."""


@dataclass(frozen=True)
class Cost:
    """What lies along the horizontal axis.

    Attributes:
        name: For ids.
        label: At the axis.
        of: A contender's cost, None where it is not known.
        formatted: A cost in words.
    """

    name: str
    label: str
    of: Callable[[Contender], float | None]
    formatted: Callable[[float], str]


def _seconds(contender: Contender) -> float | None:
    return contender.seconds.mean if contender.seconds else None


COSTS = (
    Cost("time", "seconds of training", _seconds, duration),
    Cost("flops", "floating-point operations of training", lambda one: one.flops, short),
)


@dataclass(frozen=True)
class _Point:
    place: Place
    x: float
    y: float


def quality_against(table: Table, cost: Cost, name: str) -> Markup | Absent:
    """Quality over a cost, both on logarithmic axes where that is possible.

    Args:
        table: Whose scores.
        cost: What lies along the horizontal axis.
        name: Of the plot within its page.
    """
    points = list(_points(table, cost))
    if not points:
        return Absent(f"The {cost.label} of these recipes are not known.")
    best = front(table, points)
    order = [*best, *(point for point in points if point not in best)]
    hardware = list(dict.fromkeys(point.place.contender.newest.hardware for point in points))
    with drawing(5.6, 4.2) as (canvas, axes):
        axes.plot([p.x for p in best], [p.y for p in best], color=SERIES[1], linewidth=1, drawstyle="steps-post")
        for number, point in enumerate(order):
            _dot(axes, point, hardware, strong=number < len(best)).set_gid(f"point-{number}")
        _scale(axes, points, table)
        axes.set_xlabel(cost.label)
        axes.set_ylabel(f"{table.metric.name} ({table.metric.direction})")
        if len(hardware) > 1:
            canvas.legend(handles=_legend(axes, hardware), loc="outside upper left")
        _label(canvas, axes, order, best)
        tooltips = {f"point-{number}": _in_words(point, cost) for number, point in enumerate(order)}
        return svg(canvas, f"{table.metric.name} over {cost.label}: {len(points)} recipes", name, tooltips)


def views_against_one_another(first: Table, other: Table, name: str) -> Markup | Absent:
    """Scores in two views of the headline: where the views agree, points follow a curve.

    Args:
        first: Along the horizontal axis.
        other: Along the vertical axis.
        name: Of the plot within its page.
    """
    beside = {id(place.contender): place for place in other.scored}
    points = [
        _Point(place, place.value.mean, value.mean)
        for place in first.scored
        if id(place.contender) in beside
        and place.value is not None
        and (value := beside[id(place.contender)].value) is not None
    ]
    if not points:
        return Absent(f"No recipe has scores of both {first.metric.name} and {other.metric.name}.")
    hardware = list(dict.fromkeys(point.place.contender.newest.hardware for point in points))
    with drawing(5.6, 4.2) as (canvas, axes):
        for number, point in enumerate(points):
            _dot(axes, point, hardware, strong=False).set_gid(f"point-{number}")
        axes.margins(x=0.12, y=0.1)
        for which, table, values in (("x", first, [p.x for p in points]), ("y", other, [p.y for p in points])):
            if table.metric.better == "lower" and min(values) > 0 and spread_out(values):
                logarithmic(axes, "x" if which == "x" else "y")
            axes.set(**{f"{which}label": f"{table.metric.name} ({table.metric.direction})"})
        if len(hardware) > 1:
            canvas.legend(handles=_legend(axes, hardware), loc="outside upper left")
        _label(canvas, axes, points, ())
        tooltips = {
            f"point-{number}": f"{point.place.contender.newest.recipe}: {first.metric.name} {figure(point.x)}, "
            f"{other.metric.name} {figure(point.y)}"
            for number, point in enumerate(points)
        }
        title = f"{other.metric.name} against {first.metric.name}: {len(points)} recipes"
        return svg(canvas, title, name, tooltips)


def _points(table: Table, cost: Cost) -> Iterator[_Point]:
    for place in table.scored:
        x = cost.of(place.contender)
        if x is not None and x > 0 and place.value is not None:
            yield _Point(place, x, place.value.mean)


def front(table: Table, points: Sequence[_Point]) -> list[_Point]:
    """The points that no other beats at the same cost or less, by rising cost."""
    best: list[_Point] = []
    for point in sorted(points, key=lambda point: (point.x, _badness(table, point))):
        if not best or _badness(table, point) < _badness(table, best[-1]):
            best.append(point)
    return best


def _badness(table: Table, point: _Point) -> float:
    return table.metric.badness(point.y, point.place.floor)


def _dot(axes: Axes, point: _Point, hardware: Sequence[str], *, strong: bool) -> Line2D:
    marker = MARKERS[hardware.index(point.place.contender.newest.hardware) % len(MARKERS)]
    (dot,) = axes.plot(point.x, point.y, marker, color=SERIES[1 if strong else 0], markersize=5, zorder=3)
    return dot


def _scale(axes: Axes, points: Sequence[_Point], table: Table) -> None:
    floor = table.floor
    # A line far below every point would leave the plot empty between them; the text above the table has it as well.
    if floor is not None and not spread_out([floor, min(point.y for point in points)]):
        axes.axhline(floor, color=REAL, linewidth=1, linestyle=(0, (1, 2)))
        where = axes.get_yaxis_transform()
        axes.text(0.995, floor, "real vs real", transform=where, ha="right", va="bottom", color=INK, size=7.5)
    axes.margins(x=0.12, y=0.1)
    logarithmic(axes, "x")
    if table.metric.better == "lower" and all(point.y > 0 for point in points):
        logarithmic(axes, "y")


def _legend(axes: Axes, hardware: Sequence[str]) -> list[object]:
    return [
        handle
        for number, name in enumerate(hardware)
        for handle in axes.plot([], [], MARKERS[number % len(MARKERS)], color=SERIES[0], label=shortened(name, 80))
    ]


def _label(canvas: Figure, axes: Axes, points: Sequence[_Point], best: Sequence[_Point]) -> None:
    """Write names beside points where there is room, the first ones first; the rest keep their tooltips."""
    canvas.draw_without_rendering()
    taken = [_box(axes, (point.x, point.y), (point.x, point.y), 3) for point in points] + _stairs(axes, best)
    inside = axes.get_window_extent()
    for number, point in enumerate(points):
        others = [*taken[:number], *taken[number + 1 :]]
        for corner in CORNERS:
            label = _write(axes, point, corner)
            box = label.get_window_extent()
            if inside.contains(box.x0, box.y0) and inside.contains(box.x1, box.y1) and not box.count_overlaps(others):
                taken.append(box)
                break
            label.remove()


def _write(axes: Axes, point: _Point, corner: tuple[int, int, str, str]) -> Annotation:
    dx, dy, across, along = corner
    name = shortened(point.place.contender.newest.recipe, 32)
    style: dict[str, Any] = {"ha": across, "va": along, "size": 7.5, "color": INK, "annotation_clip": False}
    return axes.annotate(name, (point.x, point.y), (dx, dy), textcoords="offset points", **style)


def _stairs(axes: Axes, best: Sequence[_Point]) -> list[Bbox]:
    """Where the line of the best runs: to the right from one, then down to the next."""
    steps = [((a.x, a.y), (b.x, a.y), (b.x, b.y)) for a, b in pairwise(best)]
    return [_box(axes, start, end, 0.5) for a, corner, b in steps for start, end in ((a, corner), (corner, b))]


def _box(axes: Axes, start: tuple[float, float], end: tuple[float, float], margin: float) -> Bbox:
    """The rectangle around two places of the plot, in pixels."""
    places = axes.transData.transform([start, end])
    (left, low), (right, high) = places.min(axis=0), places.max(axis=0)
    return Bbox.from_extents(left - margin, low - margin, right + margin, high + margin)


def _in_words(point: _Point, cost: Cost) -> str:
    contender = point.place.contender
    return (
        f"{contender.newest.recipe}: {figure(point.y)} after {cost.formatted(point.x)} on {contender.newest.hardware}"
    )
