"""``report.html``: everything a run left, on one page that needs nothing else."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from ganzoo.errors import GanzooError
from ganzoo.evaluation.generator import TrainedGenerator, load
from ganzoo.pages import drawings, history
from ganzoo.pages.measures import Measure, times, whole
from ganzoo.pages.rendering import Absent, page
from ganzoo.plugins import Zoo
from ganzoo.runs.diagnosis import examine
from ganzoo.runs.files import write_atomically
from ganzoo.runs.folder import RunFolder

STATES: Mapping[str, str] = {
    "done": "Done",
    "running": "Running, or cut off without a word",
    "interrupted": "Interrupted, and can be resumed",
    "failed": "Failed",
}
KINDS: Mapping[str, str] = {"ema": "averaged (ema)", "raw": "raw"}

T = TypeVar("T")


@dataclass(frozen=True)
class FinalScore:
    """A metric at the end of a run.

    Attributes:
        measure: The metric and its protocol.
        values: By kind of weights, the reported kind first.
        floor: What real images score, or None.
        times: The reported value over the floor.
    """

    measure: Measure
    values: Mapping[str, float]
    floor: float | None
    times: float | None

    @property
    def reported(self) -> str:
        """The kind of weights whose score counts."""
        return next(iter(self.values))


def write_report(path: Path, zoo: Zoo, *, device: torch.device | None = None, draw: bool = True) -> Path:
    """Make the report of a run.

    Args:
        path: The run folder, finished or not.
        zoo: Where the recipe's names are looked up.
        device: Where samples are drawn; a GPU where there is one by default.
        draw: Whether to draw samples from the checkpoint for neighbours and interpolation, which takes seconds.

    Returns:
        Where it is: ``report.html`` in the run folder.

    Raises:
        GanzooError: There is no run. What else is missing is said on the page.
    """
    run = RunFolder.open(path)
    target = run.path / "report.html"
    write_atomically(target, page("report.html", "report.js", facts(run, zoo, device=device, draw=draw)).encode())
    return target


def facts(run: RunFolder, zoo: Zoo, *, device: torch.device | None, draw: bool) -> dict[str, Any]:
    """Everything the template shows; what cannot be shown is ``Absent``."""
    events, scores = run.events(), whole(run.scores())
    last = max((event["images"] for event in events if isinstance(event.get("images"), int)), default=0)
    return {
        "run": run.info,
        "folder": run.path.resolve().name,
        "state": STATES.get(str(run.info.get("status")), str(run.info.get("status"))),
        "images": last,
        "recipe": _recipe(run, zoo),
        "yaml": _yaml(run),
        "frames": drawings.frames(run.path / "samples", events),
        "losses": history.losses(events),
        "curves": history.scores(scores),
        "final": final_scores(scores),
        "kinds": KINDS,
        "health": history.health(events),
        "diagnosis": examine(run),
        "environment": environment(run.info),
        "command": f"ganzoo run {shlex.quote(str(run.info['recipe']))} --seed {run.info.get('seed', 0)}",
        **_drawn(run, zoo, device, draw),
    }


def _recipe(run: RunFolder, zoo: Zoo) -> Any:
    return _attempt(lambda: run.recipe(zoo))


def _yaml(run: RunFolder) -> str | Absent:
    try:
        return (run.path / "recipe.yaml").read_text("utf-8")
    except (OSError, ValueError):
        return Absent("The run folder has no recipe.yaml that can be read.")


def _drawn(run: RunFolder, zoo: Zoo, device: torch.device | None, draw: bool) -> dict[str, Any]:
    """What is drawn from the newest checkpoint."""
    generator: TrainedGenerator | Absent = Absent("This report was made without drawing samples (`--no-draw`).")
    if draw:
        generator = _attempt(lambda: load(run, zoo=zoo, device=device))
    if isinstance(generator, Absent):
        return {"age": None, "weights": None, "neighbours": generator, "interpolation": generator}
    trained = generator
    return {
        "age": trained.checkpoint.state.get("images"),
        "weights": KINDS[trained.weights[0]],
        "neighbours": _attempt(lambda: drawings.neighbours(trained, zoo)),
        "interpolation": _attempt(lambda: drawings.interpolation(trained)),
    }


def _attempt(make: Callable[[], T]) -> T | Absent:
    try:
        return make()
    except GanzooError as error:
        return Absent(str(error))


def final_scores(scores: Sequence[Mapping[str, Any]]) -> list[FinalScore] | Absent:
    """The scores of the last evaluation, those of the reported weights named first."""
    if not scores:
        return Absent("The run ended before its first evaluation, so there are no scores.")
    last = max(score["images"] for score in scores)
    by_measure: dict[Measure, list[Mapping[str, Any]]] = {}
    for score in scores:
        if score["images"] == last:
            by_measure.setdefault(Measure.of(score["metric"], score["protocol"]), []).append(score)
    return [_final(measure, some) for measure, some in by_measure.items()]


def _final(measure: Measure, scores: Sequence[Mapping[str, Any]]) -> FinalScore:
    values = {str(score["weights"]): float(score["value"]) for score in scores}
    floor = scores[-1].get("floor")
    return FinalScore(measure, values, floor, times(next(iter(values.values())), floor))


def environment(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a run was made with, as rows of a table."""
    found = info.get("environment") or {}
    versions = found.get("versions") or {}
    counts = info.get("parameters") or {}
    distributions = dict.fromkeys(str(name) for name in (info.get("plugins") or {}).values())
    rows = {
        "Engine": info.get("engine"),
        "Precision": info.get("precision"),
        "Seed": info.get("seed"),
        **{f"Parameters of the {role}": f"{number:,}" for role, number in counts.items()},
        "Device": found.get("device"),
        "GPU": found.get("gpu"),
        "CPU": found.get("cpu"),
        "Cores": found.get("cores"),
        "Threads": found.get("threads"),
        "System": found.get("system"),
        **{name: number for name, number in versions.items() if number},
        "Plugins from": ", ".join(distributions),
        "Started": info.get("started"),
        "Ended": info.get("ended"),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]
