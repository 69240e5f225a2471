"""``report.html``: the results of a run on one self-contained page."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ganzoo.config.checking import HEADLINES
from ganzoo.errors import GanzooError
from ganzoo.evaluation.protocol import excess
from ganzoo.files import begins_like, refuse_to_overwrite, without_folders, write_atomically
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.runs.diagnosis import diagnose
from ganzoo.runs.folder import RunFolder
from ganzoo.runs.generator import TrainedGenerator, load
from ganzoo_reports.run_figures import (
    ROWS,
    Records,
    by_protocol,
    frames,
    health_plots,
    interpolation,
    loss_plots,
    neighbours,
    replay,
    score_plots,
)
from ganzoo_reports.scores import MetricKey, whole
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
KINDS: Mapping[str, str] = {"ema": "averaged (ema)", "raw": "raw"}
MAX_NAMED = 40
"""Largest number of classes whose names are shown above the columns of a grid; a grid has no more columns."""

T = TypeVar("T")


@dataclass(frozen=True)
class FinalScore:
    """A metric at the end of a run.

    Attributes:
        metric: The metric and its protocol.
        values: Scores by kind of weights, the reported kind first.
        floor: Real vs real: the score of real images, or None.
        excess: How far the reported value is above real vs real, ± the standard deviation of real vs real.
        interval: 95% confidence interval of the mean score of other samples; None if not computed.
        headline: Whether it is one of the dataset's headline metrics.
    """

    metric: MetricKey
    values: Mapping[str, float]
    floor: float | None
    excess: str
    interval: tuple[float, float] | None
    headline: bool

    @property
    def reported(self) -> str:
        """The kind of weights whose score counts."""
        return next(iter(self.values))


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
    events, scores, recipe = run.events(), whole(run.scores()), _attempt(lambda: run.recipe(zoo))
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
        "replay": replay(run, events, recipe, zoo),
        "losses": loss_plots(events),
        "curves": score_plots(scores),
        "final": final_table(whole(run.final_scores())),
        "best": run.best(),
        "kinds": KINDS,
        "health": health_plots(events),
        "diagnosis": diagnose(run.events()),
        "environment": environment(run.info),
        **_drawn(run, zoo, device, draw),
    }
    for key, part in made.items():
        for place in places if isinstance(part, Absent) else ():
            made[key] = part = Absent(part.why.replace(place, without_folders(place)))
    return made


def state(run: RunFolder) -> str:
    """A run's status in words, or as recorded if ganzoo does not know it."""
    status = str(run.info.get("status"))
    return STATES.get(status, status)


def _yaml(run: RunFolder) -> str | Absent:
    try:
        return strict.dump(without_folders(strict.read_mapping(run.path / "recipe.yaml")))
    except (GanzooError, OSError, ValueError):
        return Absent("The run folder has no readable recipe.yaml.")


def _drawn(run: RunFolder, zoo: Zoo, device: torch.device | None, draw: bool) -> dict[str, Any]:
    """The figures drawn from the newest checkpoint."""
    generator: TrainedGenerator | Absent = Absent("This report was made without drawing samples (`--no-draw`).")
    if draw:
        generator = _attempt(lambda: load(run, zoo=zoo, device=device))
    if isinstance(generator, Absent):
        return {"age": None, "weights": None, "neighbours": generator, "interpolation": generator}
    trained = generator
    return {
        "age": trained.checkpoint.state.get("images"),
        "weights": KINDS[trained.weights[0]],
        "neighbours": _attempt(lambda: neighbours(trained, zoo)),
        "interpolation": _attempt(lambda: interpolation(trained)),
    }


def _attempt(make: Callable[[], T]) -> T | Absent:
    try:
        return make()
    except GanzooError as error:
        return Absent(str(error))


def final_table(scores: Records) -> list[FinalScore] | Absent:
    """Rows of the table of final scores: one for each metric, protocol and sample seed.

    The headline metrics by the recipe's own protocol come first, in their order; the other rows keep theirs.

    Args:
        scores: The scores from ``RunFolder.final_scores``.
    """
    if not scores:
        return Absent(
            "The run has no scores: it has not been evaluated yet, or its recipe names no metrics. "
            "`ganzoo eval` scores it."
        )
    rows = [_final(some) for some in by_protocol(scores)]
    own: dict[str, FinalScore] = {}
    for row in rows:
        if row.headline and row.metric.reference == rows[0].metric.reference:
            own.setdefault(row.metric.name, row)
    listed = HEADLINES.get(str(scores[0]["protocol"].get("dataset")), ())
    first = [own[name] for name in listed if name in own]
    return [*first, *(row for row in rows if row not in first)]


def _final(scores: Records) -> FinalScore:
    metric, seed = MetricKey.of(scores[0]), scores[0]["protocol"].get("sample_seed")
    if seed:
        metric = replace(metric, protocol=f"{metric.protocol}, sample seed {seed}")
    values = {str(score["weights"]): float(score["value"]) for score in scores}
    floor = scores[-1].get("floor")
    ends = scores[0].get("interval")
    listed = HEADLINES.get(str(scores[0]["protocol"].get("dataset")), ())
    return FinalScore(
        metric,
        values,
        floor,
        excess(next(iter(values.values())), floor, scores[-1].get("sd")),
        tuple(ends) if ends else None,
        metric.name in listed,
    )


def environment(info: Mapping[str, Any]) -> list[tuple[str, str]]:
    """A run's environment and settings, as rows of a table."""
    machine = info.get("environment") or {}
    versions = machine.get("versions") or {}
    counts = info.get("parameters") or {}
    distributions = dict.fromkeys(str(name) for name in (info.get("plugins") or {}).values())
    rows = {
        "Engine": info.get("engine"),
        "Precision": info.get("precision"),
        "Seed": info.get("seed"),
        **{f"Parameters of the {role}": f"{number:,}" for role, number in counts.items()},
        "Device": machine.get("device"),
        "GPU": machine.get("gpu"),
        "CPU": machine.get("cpu"),
        "Cores": machine.get("cores"),
        "Threads": machine.get("threads"),
        "System": machine.get("system"),
        **{name: number for name, number in versions.items() if number},
        "Plugins from": ", ".join(distributions),
        "Started": info.get("started"),
        "Ended": info.get("ended"),
    }
    return [(name, str(value)) for name, value in rows.items() if value not in (None, "")]
