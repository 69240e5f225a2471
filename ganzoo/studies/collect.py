"""From the folder that a job's process left to its record."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ganzoo.errors import GanzooError
from ganzoo.registry.loading import Zoo
from ganzoo.runs.folder import RunFolder
from ganzoo.studies.matrix import Job
from ganzoo.studies.records import RunRecord, recipe_digest
from ganzoo.training.flops import flops_per_image

POINT = ("images", "seconds", "metric", "weights", "value")


@dataclass(frozen=True)
class Outcome:
    """How a job's process ended.

    Attributes:
        error: What went wrong, in a sentence; None where it ended well.
        wall_seconds: From its start to its end.
        stopped: It was asked to end, and saved.
    """

    error: str | None
    wall_seconds: float
    stopped: bool = False


def collect(job: Job, folder: Path, outcome: Outcome, environment: dict[str, Any], zoo: Zoo) -> RunRecord:
    """The record of a job whose process has ended.

    Args:
        job: What was asked for.
        folder: Its run folder, which may be missing where it failed.
        outcome: How its process ended.
        environment: Of this process, where the folder tells none.
        zoo: Where the recipe's names are looked up.
    """
    run = _opened(folder)
    info = run.info if run else {}
    told: dict[str, Any] = info.get("environment", environment)
    error = outcome.error or _not_finite(run)
    done = error is None
    return RunRecord.model_validate(
        {
            **_of_recipe(job, run, zoo),
            **_training(run),
            "status": "done" if done else "failed",
            "error": error,
            "wall_seconds": None if _was_cut_off(run) else round(outcome.wall_seconds, 1),
            "parameters": info.get("parameters", {}),
            "flops_per_image": count_flops(job, zoo, info.get("data_dir")) if done else None,
            "engine": info.get("engine"),
            "precision": info.get("precision"),
            "threads": told["threads"],
            "environment": told,
            "samples": f"samples/{job.recipe.name}-{job.dataset}-{job.seed}.png" if done else None,
            "finished": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "command": job.command,
        }
    )


def final_picture(folder: Path) -> Path | None:
    """The last grid of samples in a run folder."""
    pictures = sorted((folder / "samples").glob("*.png"))
    return pictures[-1] if pictures else None


def count_flops(job: Job, zoo: Zoo, data_dir: str | None) -> float | None:
    """FLOPs of a training image; None where a plugin does what fake tensors cannot."""
    try:
        where = Path(data_dir) if data_dir else None
        dataset = zoo.datasets.get(job.dataset).create("train", where, **job.recipe.dataset.options)
        return flops_per_image(job.recipe, zoo, dataset)
    except Exception:  # whatever it is, the training went well and its record must not be lost
        return None


def _opened(folder: Path) -> RunFolder | None:
    try:
        return RunFolder.open(folder)
    except GanzooError:
        return None


def _of_recipe(job: Job, run: RunFolder | None, zoo: Zoo) -> dict[str, Any]:
    recipe = job.recipe
    return {
        "recipe": recipe.name,
        "dataset": job.dataset,
        "seed": job.seed,
        # Of what was trained: the file may have been edited after the bench began.
        "digest": recipe_digest(run.recipe(zoo)) if run else job.digest,
        "plugin": job.plugin,
        "summary": recipe.summary,
        "paper": recipe.paper,
        "loss": recipe.loss.name,
        "conditional": recipe.conditional,
    }


def _training(run: RunFolder | None) -> dict[str, Any]:
    if run is None:
        return {"scores": (), "curve": (), "images": 0, "seconds": 0.0, "images_per_second": None}
    scores = [score for score in run.scores() if math.isfinite(score["value"])]
    images, seconds = _progress(run)
    return {
        "scores": [score for score in scores if score["images"] == images],
        "curve": [{key: score[key] for key in POINT} for score in scores],
        "images": images,
        "seconds": seconds,
        "images_per_second": round(images / seconds, 1) if seconds else None,
    }


def _not_finite(run: RunFolder | None) -> str | None:
    broken = {score["metric"] for score in (run.scores() if run else ()) if not math.isfinite(score["value"])}
    return f"A score is not finite: {', '.join(sorted(broken))}." if broken else None


def _progress(run: RunFolder) -> tuple[int, float]:
    """Images and seconds of a whole run, or those that were last logged."""
    if run.info["status"] == "done":
        return run.info["images"], run.info["seconds"]
    logged = [event for event in run.events() if event["event"] == "train"]
    return (logged[-1]["images"], logged[-1]["seconds"]) if logged else (0, 0.0)


def _was_cut_off(run: RunFolder | None) -> bool:
    return run is not None and any(event["event"] == "resume" for event in run.events())
