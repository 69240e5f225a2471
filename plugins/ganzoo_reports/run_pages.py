"""Pages of runs: the report of one, ``report.html``, and the comparison of a few by ``ganzoo compare``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ganzoo.config.schema import DESCRIPTIVE
from ganzoo.errors import GanzooError, writing
from ganzoo.files import begins_like, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.runs.diagnosis import diagnose
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo.runs.provenance import hardware_in_words
from ganzoo_reports.plots import Line
from ganzoo_reports.run_figures import (
    FEWEST,
    ROWS,
    Shown,
    frames,
    health_plots,
    interpolation,
    loss_lines,
    loss_plots,
    neighbours,
    pictures,
    planes,
    plotted,
    replay,
    replayed_losses,
    score_plots,
    surroundings,
)
from ganzoo_reports.scores import KINDS, FinalScore, Records, by_protocol, final_table
from ganzoo_reports.templates import Absent, page

STATES: Mapping[str, str] = {
    "done": "Done",
    "running": "Running",
    "killed": "Killed; can be resumed",
    "interrupted": "Interrupted; can be resumed",
    "failed": "Failed",
}
SCRIPTS = ("player.js", "report.js", "replay.js")
MAX_NAMED = 40
"""Largest number of classes whose names are shown above the columns of a grid; a grid has no more columns."""
T = TypeVar("T")


def write_report(path: Path, zoo: Zoo, *, device: torch.device | None = None, draw: bool = True) -> Path:
    """Make ``report.html`` in the folder of a run, finished or not.

    Samples for neighbours and interpolation take seconds to draw; by default on a GPU if one is available.

    Raises:
        GanzooError: There is no run, or its ``report.html`` was not made by ganzoo. The page itself reports anything
            else that is missing.
    """
    run = RunFolder.open(path)
    target = run.path / "report.html"
    ours = begins_like(target, "script-src 'sha256-", ": report</title>")
    refuse_to_overwrite(target, ours=ours, command="report", remedy="Move it, then try again.")
    write_atomically(target, page("report.html", SCRIPTS, facts(run, zoo, device=device, draw=draw)).encode())
    return target


def facts(
    run: RunFolder,
    zoo: Zoo,
    *,
    device: torch.device | None = None,
    draw: bool = False,
    live: bool = False,
    drawn: Callable[..., Any] = lambda draw, *given: draw(*given),
) -> dict[str, Any]:
    """Everything the template shows; parts that cannot be shown are ``Absent``.

    A ``live`` page follows the training: it links to its pictures, and has no samples drawn for it. What takes long is
    called through ``drawn``, as ``drawn(function, *arguments)``, which may return what it returned before.
    """
    events, scores, recipe = run.events(), run.scores(), _attempt(run.recipe, zoo)
    options = {} if isinstance(recipe, Absent) else recipe.dataset.options
    places = [one for one in (run.info.get("data_dir"), *options.values()) if without_folders(one) != one]
    conditional = not isinstance(recipe, Absent) and recipe.conditional
    names = [str(name) for name in run.info.get("class_names", ())] if conditional else []
    moments = planes(run)
    not_drawn = Absent("This report was made without drawing samples (`--no-draw`).")
    generator = _attempt(load, run, zoo=zoo, device=device) if draw else not_drawn
    if not isinstance(generator, Absent) and not (modality := generator.assembly.spec.modality).pictured:
        generator = Absent(f"This run draws {modality}, not pictures.")
    made = {
        "run": run.info,
        "live": live,
        "folder": run.path.resolve().name,
        "state": state(run),
        "images": max((event["images"] for event in events), default=0),
        "recipe": recipe,
        "class_names": names if len(names) <= MAX_NAMED else [],
        "row_classes": [names[row % len(names)] for row in range(ROWS)] if names else [],
        "yaml": _attempt(lambda: strict.dump(_recipe(run))),
        "frames": frames(run.path / "samples", events, linked=live),
        "kept": len(pictures(run.path / "samples")),
        "replay": replay(moments, drawn(surroundings, run, zoo)) if moments else None,
        "replayed_losses": drawn(replayed_losses, events, [images for images, _ in moments]) if moments else [],
        "losses": drawn(loss_plots, events),
        "curves": drawn(score_plots, {kind: [one for one in scores if one["weights"] == kind] for kind in KINDS}),
        "final": final_table(run.final_scores()),
        "best": run.best(),
        "kinds": KINDS,
        "health": drawn(health_plots, events),
        "diagnosis": diagnose(events),
        "environment": _environment(run.info),
        "neighbours": generator if isinstance(generator, Absent) else _attempt(neighbours, generator, zoo),
        "interpolation": generator if isinstance(generator, Absent) else _attempt(interpolation, generator),
    }
    for key, part in made.items():
        for place in places if isinstance(part, Absent) else ():
            made[key] = part = Absent(part.why.replace(place, without_folders(place)))
    return made


def state(run: RunFolder) -> str:
    """A run's status in words, or as recorded if ganzoo does not know it."""
    return STATES.get(run.info["status"], run.info["status"])


def _recipe(run: RunFolder) -> dict[str, Any]:
    """A run's recipe as its file has it, without its maker's folders."""
    return dict(without_folders(strict.read_mapping(run.path / "recipe.yaml")))


def _attempt(make: Callable[..., T], *given: Any, **named: Any) -> T | Absent:
    try:
        return make(*given, **named)
    except GanzooError as error:
        return Absent(str(error))


def _environment(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A run's environment and settings, as rows of a table."""
    machine = info.get("environment") or {}
    rows = {
        "Engine": info.get("engine"),
        "Precision": info.get("precision"),
        "Seed": info.get("seed"),
        **{f"Parameters of the {role}": f"{number:,}" for role, number in (info.get("parameters") or {}).items()},
        "Device": machine.get("device"),
        "GPU": machine.get("gpu"),
        "CPU": machine.get("cpu"),
        "Cores": machine.get("cores"),
        "Threads": machine.get("threads"),
        "System": machine.get("system"),
        **{name: number for name, number in (machine.get("versions") or {}).items() if number},
        "Plugins from": ", ".join(dict.fromkeys((info.get("plugins") or {}).values())),
        "Started": info.get("started"),
        "Ended": info.get("ended"),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]


MAX_RUNS = 12
"""With more, the curves could not be told apart."""


def write_comparison(paths: Sequence[Path], out: Path) -> Path:
    """Compare runs, finished or not, on a self-contained page; an earlier comparison there is replaced.

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
    ours = begins_like(out, "<title>ganzoo: comparison</title>")
    refuse_to_overwrite(out, ours=ours, command="compare", remedy="Give another --out.")
    parts = 1  # of each path's end, enough to distinguish it from the others
    while len({path.parts[-parts:] for path in resolved}) < len(resolved):
        parts += 1
    runs = {str(Path(*path.parts[-parts:])): RunFolder.open(path) for path in resolved}
    made = page("compare.html", (), _compared(runs))
    with writing(f"Could not write {out}", "Give another --out."):
        write_atomically(out, made.encode())
    return out


def _compared(runs: Mapping[str, RunFolder]) -> Shown:
    """Everything the template shows."""
    events = {name: run.events() for name, run in runs.items()}
    sides: list[Shown] = [
        {
            "name": name,
            "info": run.info,
            "state": state(run),
            "images": max((event["images"] for event in events[name]), default=0),
            "hardware": hardware_in_words(machine) if (machine := run.info.get("environment")) else "",
            "last": frames(run.path / "samples", events[name])[-1:],
            "settings": _settings(run),
        }
        for name, run in runs.items()
    ]
    keys = dict.fromkeys(key for side in sides for key in side["settings"])
    settings = [(key, [side["settings"].get(key, "–") for side in sides]) for key in keys]
    return {
        "sides": sides,
        "kinds": KINDS,
        "rows": _rows(runs),
        "curves": score_plots({name: _reported(run) for name, run in runs.items()}),
        "losses": _loss_curves(events),
        "several_machines": len({side["hardware"] for side in sides}) > 1,
        "settings": [(key, values) for key, values in settings if len(set(values)) > 1],
    }


def _settings(run: RunFolder) -> dict[str, str]:
    """A run's recipe, flattened: ``train.images`` to ``60000``; empty if it cannot be read."""
    try:
        run.refuse_another_recipe()
        return dict(_flat({key: value for key, value in _recipe(run).items() if key not in DESCRIPTIVE}))
    except GanzooError:
        return {}


def _flat(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from _flat(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list) and any(isinstance(inner, Mapping) for inner in value):
        for index, inner in enumerate(value):
            yield from _flat(inner, f"{path}[{index}]")
    else:
        yield path, value if isinstance(value, str) else json.dumps(value, default=str)


def _rows(runs: Mapping[str, RunFolder]) -> list[dict[str, FinalScore]]:
    """Scores by run, for each metric and protocol that any run has; those that the most runs have come first."""
    by_key: dict[str, dict[str, FinalScore]] = {}
    for name, run in runs.items():
        for score in final_table(run.final_scores()):
            # The run's own samples come before those of other seeds.
            by_key.setdefault(score.metric.key, {}).setdefault(name, score)
    return sorted(by_key.values(), key=len, reverse=True)


def _reported(run: RunFolder) -> Records:
    """A run's scores of the kind of weights that counts, averaged ones where there are any, of its own samples."""
    groups = [some for (_, seed), some in by_protocol(run.scores()).items() if not seed]
    return [score for some in groups for score in some if score["weights"] == min(one["weights"] for one in some)]


def _loss_curves(events: Mapping[str, Records]) -> list[Shown]:
    """For each phase's loss that several runs have, a line for each run."""
    by_phase: dict[str, list[Line]] = {}
    for name, of_run in events.items():
        for line in loss_lines(of_run):
            if len(line.x) >= FEWEST:
                by_phase.setdefault(line.name, []).append(replace(line, name=name))
    return [
        plot
        for number, (phase, lines) in enumerate(by_phase.items())
        if len(lines) > 1
        for plot in plotted(phase, "", {"images": lines}, title=f"Loss of {phase}", name=f"loss-{number}", y="loss")
    ]
