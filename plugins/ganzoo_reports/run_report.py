"""``report.html``: the results of a run on one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import torch

from ganzoo.errors import GanzooError
from ganzoo.files import begins_like, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.runs.diagnosis import examine
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import load
from ganzoo_reports.run_figures import (
    ROWS,
    frames,
    health_plots,
    interpolation,
    loss_plots,
    neighbours,
    pictures,
    replay,
    score_plots,
)
from ganzoo_reports.scores import KINDS, final_table
from ganzoo_reports.templates import Absent, page

STATES: Mapping[str, str] = {
    "done": "Done",
    "running": "Running",
    "killed": "Killed; can be resumed",
    "interrupted": "Interrupted; can be resumed",
    "failed": "Failed",
}
MARKS = ("script-src 'sha256-", ": report</title>")
"""Strings at the beginning of every report."""
MAX_NAMED = 40
"""Largest number of classes whose names are shown above the columns of a grid; a grid has no more columns."""
T = TypeVar("T")


def write_report(path: Path, zoo: Zoo, *, device: torch.device | None = None, draw: bool = True) -> Path:
    """Make the report of a run.

    Args:
        path: The run folder, finished or not.
        zoo: Where the recipe's names are looked up.
        device: Where samples are drawn; by default a GPU if one is available.
        draw: Whether to draw samples from the checkpoint for neighbours and interpolation, which takes seconds.

    Returns:
        The path of the report: ``report.html`` in the run folder.

    Raises:
        GanzooError: There is no run, or its ``report.html`` was not made by ganzoo. The page itself reports anything
            else that is missing.
    """
    run = RunFolder.open(path)
    target = run.path / "report.html"
    refuse_to_overwrite(target, ours=begins_like(target, *MARKS), command="report", remedy="Move it, then try again.")
    made = page("report.html", ("player.js", "report.js", "replay.js"), facts(run, zoo, device=device, draw=draw))
    write_atomically(target, made.encode())
    return target


def facts(run: RunFolder, zoo: Zoo, *, device: torch.device | None, draw: bool) -> dict[str, Any]:
    """Everything the template shows; parts that cannot be shown are ``Absent``."""
    events, recipe = run.events(), _attempt(run.recipe, zoo)
    options = {} if isinstance(recipe, Absent) else recipe.dataset.options
    places = [one for one in (run.info.get("data_dir"), *options.values()) if without_folders(one) != one]
    conditional = not isinstance(recipe, Absent) and recipe.conditional
    names = [str(name) for name in run.info.get("class_names", ())] if conditional else []
    made = {
        "run": run.info,
        "folder": run.path.resolve().name,
        "state": state(run),
        "images": max((event["images"] for event in events), default=0),
        "recipe": recipe,
        "class_names": names if len(names) <= MAX_NAMED else [],
        "row_classes": [names[row % len(names)] for row in range(ROWS)] if names else [],
        "yaml": _yaml(run),
        "frames": frames(run.path / "samples", events),
        "kept": len(pictures(run.path / "samples")),
        "replay": replay(run, events, recipe, zoo),
        "losses": loss_plots(events),
        "curves": score_plots(run.scores()),
        "final": final_table(run.final_scores()),
        "best": run.best(),
        "kinds": KINDS,
        "health": health_plots(events),
        "diagnosis": examine(run),
        "environment": _environment(run.info),
        **_drawn(run, zoo, device, draw),
    }
    for key, part in made.items():
        for place in places if isinstance(part, Absent) else ():
            made[key] = part = Absent(part.why.replace(place, without_folders(place)))
    return made


def state(run: RunFolder) -> str:
    """A run's status in words, or as recorded if ganzoo does not know it."""
    status: str = run.info["status"]
    return STATES.get(status, status)


def _yaml(run: RunFolder) -> str | Absent:
    try:
        return strict.dump(without_folders(strict.read_mapping(run.path / "recipe.yaml")))
    except (GanzooError, OSError, ValueError):
        return Absent("The run folder has no readable recipe.yaml.")


def _drawn(run: RunFolder, zoo: Zoo, device: torch.device | None, draw: bool) -> dict[str, Any]:
    """The figures drawn from the newest checkpoint."""
    without = Absent("This report was made without drawing samples (`--no-draw`).")
    generator = _attempt(load, run, zoo=zoo, device=device) if draw else without
    if isinstance(generator, Absent):
        return {"age": None, "weights": None, "neighbours": generator, "interpolation": generator}
    return {
        "age": generator.checkpoint.state.get("images"),
        "weights": KINDS[generator.weights[0]],
        "neighbours": _attempt(neighbours, generator, zoo),
        "interpolation": _attempt(interpolation, generator),
    }


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
