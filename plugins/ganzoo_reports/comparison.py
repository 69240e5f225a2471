"""``ganzoo compare``: the curves, samples, scores and settings of a few runs side by side, on one page."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ganzoo.config.schema import DESCRIPTIVE
from ganzoo.errors import GanzooError, writing
from ganzoo.files import begins_like, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.registry import strict
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.provenance import hardware_in_words
from ganzoo_reports.plots import Line, curves
from ganzoo_reports.run_figures import (
    AXES,
    FEWEST,
    Frame,
    Plots,
    Records,
    by_protocol,
    frames,
    last_at_each,
    loss_lines,
    metric_plots,
)
from ganzoo_reports.run_report import KINDS, FinalScore, final_table, state
from ganzoo_reports.scores import MetricKey, whole
from ganzoo_reports.templates import Absent, page

MARK = "<title>ganzoo: comparison</title>"
MAX_RUNS = 12
"""With more, the curves could not be told apart."""


@dataclass(frozen=True)
class Side:
    """One of the runs.

    Attributes:
        name: Its folder's name, or the end of its path that distinguishes it from the others.
        info: Its run.json.
        state: Its status in words.
        images: Real images shown.
        hardware: What it was trained on; empty if that is unknown.
        grid: Its newest samples, or why there are none.
        final: Its final scores, by metric and protocol.
        scores: All its scores.
        events: What it logged.
        settings: Its recipe, flattened: ``train.images`` to ``60000``.
    """

    name: str
    info: Mapping[str, Any]
    state: str
    images: int
    hardware: str
    grid: Frame | Absent
    final: Mapping[str, FinalScore]
    scores: Records
    events: Records
    settings: Mapping[str, str]


@dataclass(frozen=True)
class ScoreRow:
    """A metric under one protocol.

    Attributes:
        metric: The metric and its protocol.
        floor: Real vs real, or None.
        cells: For each run, its score or None.
        best: The best of the cells' values; None if fewer than two are known, or no direction is better.
    """

    metric: MetricKey
    floor: float | None
    cells: Sequence[FinalScore | None]
    best: float | None


def write_comparison(paths: Sequence[Path], out: Path) -> Path:
    """Compare runs on a self-contained page.

    Args:
        paths: Run folders, finished or not.
        out: The page to write; an earlier comparison there is replaced.

    Raises:
        GanzooError: There are too few or too many runs, one is named twice or is not a run, ``out`` is another kind of
            file, or the page cannot be written.
    """
    if not 2 <= len(paths) <= MAX_RUNS:
        raise GanzooError(
            f"Cannot compare {len(paths)} run{'' if len(paths) == 1 else 's'}.", f"Give 2 to {MAX_RUNS} run folders."
        )
    resolved = [path.resolve() for path in paths]
    if twice := [str(paths[resolved.index(path)]) for path, n in Counter(resolved).items() if n > 1]:
        raise GanzooError(f"{twice[0]} is named twice.", "Name each run once.")
    refuse_to_overwrite(out, ours=begins_like(out, MARK), command="compare", remedy="Give another --out.")
    names = _names(resolved)
    made = page("compare.html", (), facts([_side(path, name) for path, name in zip(paths, names, strict=True)]))
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, made.encode())
    return out


def facts(sides: Sequence[Side]) -> dict[str, Any]:
    """Everything the template shows."""
    keys = dict.fromkeys(key for side in sides for key in side.settings)
    settings = [(key, [side.settings.get(key, "–") for side in sides]) for key in keys]
    return {
        "sides": sides,
        "kinds": KINDS,
        "rows": _rows(sides),
        "curves": _score_curves(sides),
        "losses": _loss_curves(sides),
        "several_machines": len({side.hardware for side in sides}) > 1,
        "settings": [(key, values) for key, values in settings if len(set(values)) > 1],
    }


def _names(paths: Sequence[Path]) -> list[str]:
    """The shortest ends of the paths that distinguish them."""
    deepest = max(len(path.parts) for path in paths)
    for parts in range(1, deepest):
        names = ["/".join(path.parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _side(path: Path, name: str) -> Side:
    run = RunFolder.open(path)
    events = run.events()
    pictures = frames(run.path / "samples", events)
    final: dict[str, FinalScore] = {}
    rows = final_table(whole(run.final_scores()))
    for score in () if isinstance(rows, Absent) else rows:
        final.setdefault(score.metric.key, score)  # the run's own samples come before those of other seeds
    try:
        run.refuse_another_recipe()
        recipe = without_folders(strict.read_mapping(run.path / "recipe.yaml"))
        settings = dict(_flat({key: value for key, value in recipe.items() if key not in DESCRIPTIVE}))
    except GanzooError:
        settings = {}
    return Side(
        name,
        run.info,
        state(run),
        max((event["images"] for event in events), default=0),
        hardware_in_words(environment) if (environment := run.info.get("environment")) else "",
        pictures if isinstance(pictures, Absent) else pictures.shown[-1],
        final,
        whole(run.scores()),
        events,
        settings,
    )


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _rows(sides: Sequence[Side]) -> list[ScoreRow]:
    """One row for each metric and protocol that any run has; those that the most runs have come first."""
    keys = dict.fromkeys(key for side in sides for key in side.final)
    rows = []
    for key in keys:
        cells = [side.final.get(key) for side in sides]
        known = [cell for cell in cells if cell is not None]
        metric = known[0].metric
        values = [cell.values[cell.reported] for cell in known]
        best = None
        if len(known) > 1 and metric.better != "neither":
            best = (min if metric.better == "lower" else max)(values)
        rows.append(ScoreRow(metric, known[0].floor, cells, best))
    return sorted(rows, key=lambda row: -sum(cell is not None for cell in row.cells))


def _score_curves(sides: Sequence[Side]) -> list[Plots]:
    """For each metric and protocol that has a curve, a line for each run, of its reported weights."""
    by_metric: dict[MetricKey, dict[str, Records]] = {}
    for side in sides:
        for some in by_protocol(side.scores):
            kind = "ema" if any(score["weights"] == "ema" for score in some) else some[0]["weights"]
            curve = last_at_each(score for score in some if score["weights"] == kind)
            if len(curve) >= FEWEST and not some[0]["protocol"].get("sample_seed"):
                by_metric.setdefault(MetricKey.of(some[0]), {})[side.name] = curve
    return [metric_plots(number, by_run) for number, by_run in enumerate(by_metric.values())]


def _loss_curves(sides: Sequence[Side]) -> list[Plots]:
    """For each phase's loss that several runs have, a line for each run."""
    by_phase: dict[str, list[Line]] = {}
    for side in sides:
        for line in loss_lines(side.events):
            if len(line.x) >= FEWEST:
                by_phase.setdefault(line.name, []).append(replace(line, name=side.name))
    plots = []
    for number, (phase, lines) in enumerate(by_phase.items()):
        if len(lines) > 1:
            title, label = f"Loss of {phase} over images shown", AXES["images"]
            plots.append(Plots(phase, "", (curves(lines, title=title, x=label, y="loss", name=f"loss-{number}"),)))
    return plots
