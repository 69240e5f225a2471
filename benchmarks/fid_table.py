"""The lines of ``time_to_fid`` as a table: when each contender reached each target, over its seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import mean, stdev
from typing import Any

from ganzoo.runs.provenance import hardware_in_words
from ganzoo_reports.templates import markdown_table

Line = Mapping[str, Any]


def first_below(curve: Sequence[Mapping[str, Any]], mark: float) -> dict[str, Any] | None:
    """The first point of a curve that is better than a target: its seconds and images; None if there is none."""
    for point in curve:
        if point["value"] < mark:
            return {"seconds": point["seconds"], "images": point["images"]}
    return None


def markdown(lines: Sequence[Line], marks: Sequence[float]) -> str:
    """A section for each machine and protocol; if a run was measured twice, its later line counts."""
    groups: dict[tuple[Any, ...], dict[tuple[Any, ...], Line]] = {}
    for line in lines:
        groups.setdefault(protocol(line), {})[training(line), line["seed"]] = line
    sections = [section(key, list(group.values()), sorted(marks, reverse=True)) for key, group in groups.items()]
    return "\n".join(["# Time to FID", "", INTRODUCTION, "", *sections])


INTRODUCTION = """\
Seconds of training, and real images shown, until a generator's samples first scored below each target; mean ± standard
deviation over the seeds. Drawing and scoring samples is not timed. Samples are scored only at intervals, so a time may
be too long by up to one interval. If some seeds never reached a target, the figure covers the seeds that did, and says
how many. A run ends at its last target, with its schedule or at the limit, so the runs behind "best" differ in length.
Made by `python benchmarks/time_to_fid.py`; every curve is in the file next to this one."""


def training(line: Line) -> tuple[Any, ...]:
    """What lines must have in common to share a row: only the seeds differ."""
    return line["kind"], line["contender"], *(line["facts"].get(key) for key in ("version", "digest", "precision"))


def protocol(line: Line) -> tuple[Any, ...]:
    """What lines must have in common to share a table."""
    machine = line["environment"]
    return (
        hardware_in_words(machine),
        machine["threads"],
        machine["versions"]["torch"],
        line["metric"],
        line["samples"],
        line["every"],
        line["limit"],
    )


def section(key: tuple[Any, ...], lines: Sequence[Line], marks: Sequence[float]) -> str:
    """One machine's table."""
    name, threads, torch_version, metric, samples, every, limit = key
    words = f"{metric} of {samples:,} samples, every {every:g} s of training, {limit:g} s at most; "
    words += f"torch {torch_version}, {threads} thread{'' if threads == 1 else 's'}."
    figures = ("batch", "images/s", *(f"below {mark:g}" for mark in marks), "best")
    headings = {**dict.fromkeys(("contender", "precision", "weights"), "left"), **dict.fromkeys(figures, "right")}
    groups: dict[tuple[Any, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(training(line), []).append(line)
    names = Counter(contender for _, contender, *_ in groups)
    rows = [row(group, marks, names[key[1]] > 1) for key, group in groups.items()]
    return "\n".join([f"## {name}", "", words, "", markdown_table(headings, rows), ""])


def row(lines: Sequence[Line], marks: Sequence[float], ambiguous: bool) -> list[str]:
    """The row of one training; if other rows have the same name, it includes the recipe's digest."""
    first = lines[0]
    _, name, version, digest, precision = training(first)
    name = " ".join(filter(None, [name, version, digest and ambiguous and digest[:8]]))
    curves = [line["curve"] for line in lines]
    rates = [curve[-1]["images"] / curve[-1]["seconds"] for curve in curves if curve]
    best = [min(point["value"] for point in curve) for curve in curves if curve]
    cells = [name, precision or "–", first["weights"], str(first["facts"]["batch"]), spread(rates, "{:,.0f}")]
    return [*cells, *(passed(lines, mark) for mark in marks), spread(best, "{:.2f}")]


def passed(lines: Sequence[Line], mark: float) -> str:
    """When a target was reached; a dash if no seed reached it within the time limit."""
    points = [point for line in lines if (point := first_below(line["curve"], mark))]
    tried = len(points) + sum(line["ended"] != "marks" for line in lines if not first_below(line["curve"], mark))
    if not tried:
        return "not tried"  # all runs ended at an easier target
    if not points:
        return "–"
    share = "" if len(points) == tried else f", {len(points)} of {tried}"
    images = mean(point["images"] for point in points)
    return f"{spread([point['seconds'] for point in points], '{:,.0f}')} s ({images / 1000:,.0f}k{share})"


def spread(values: Sequence[float], form: str) -> str:
    """Mean ± sample deviation; only the value if there is just one."""
    if not values:
        return "–"
    centre = form.format(mean(values))
    return centre if len(values) < 2 else f"{centre} ± {form.format(stdev(values))}"
