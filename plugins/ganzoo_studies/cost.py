"""The cost of a study on this machine: images, scorings, and seconds, estimated from a few timed steps of each row."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from ganzoo.api.dataset import Dataset
from ganzoo.data import load_part
from ganzoo.registry.loading import Zoo
from ganzoo.training.device import available_cores
from ganzoo.training.trainer import Trainer
from ganzoo_studies.matrix import Job
from ganzoo_studies.study import Study

WARM_UP = 2
"""Untimed steps before the timed ones: the first steps allocate memory."""
SECONDS = 0.5
"""Seconds of timed steps for each row; at least one step is timed."""


@dataclass(frozen=True)
class Cost:
    """The total cost of a study.

    Attributes:
        trainings: Number of training runs, over all rows, settings and seeds, without trials.
        trials: Number of training runs in its search.
        images: Real images shown, including trials.
        scorings: Number of times that samples are scored, including trials.
        seconds: Seconds of training only, one run after another; None if nothing was timed.
        per_image: Seconds per image of each row, in the first setting; empty if nothing was timed.
        workers: Number of runs that this machine's cores can train at the same time.
    """

    trainings: int
    trials: int
    images: int
    scorings: int
    seconds: float | None
    per_image: Mapping[str, float]
    workers: int


def cost_of(study: Study, zoo: Zoo, *, timed: bool, data_dir: Path | None = None) -> Cost:
    """Count a study's training runs and, if requested, time a few steps of each row.

    Args:
        study: The study.
        zoo: Where its names are looked up.
        timed: Whether to time.
        data_dir: Where dataset files are.

    Raises:
        GanzooError: A recipe is unknown, or refused with its overrides.
    """
    cells, trials = study.cells(zoo), study.trials(zoo)
    # Rows or settings may share a run.
    runs = {(job.digest, job.dataset, job.seed): (cell.row, job) for cell in cells for job in cell.jobs}
    tried = {(job.digest, job.dataset, job.seed): (trial.row, job) for trial in trials for job in trial.jobs}
    jobs = [*runs.values(), *tried.values()]
    first = {cell.row: cell.jobs[0] for cell in cells if cell.setting == study.setting_names[0]}
    datasets: dict[str, Dataset] = {}
    per_image = {
        row: _seconds_per_image(job, study.threads, zoo, data_dir, datasets) for row, job in first.items() if timed
    }
    return Cost(
        trainings=len(runs),
        trials=len(tried),
        images=sum(job.recipe.train.images for _, job in jobs),
        scorings=sum(_scorings(job) for _, job in jobs),
        seconds=sum(per_image[row] * job.recipe.train.images for row, job in jobs) if timed else None,
        per_image=per_image,
        workers=max(1, available_cores() // study.threads),
    )


def _scorings(job: Job) -> int:
    every = job.recipe.evaluate.every_images or job.recipe.train.images
    return -(-job.recipe.train.images // every)


def _seconds_per_image(job: Job, threads: int, zoo: Zoo, data_dir: Path | None, datasets: dict[str, Dataset]) -> float:
    """Seconds of training per image. On a CPU, this is CPU time per thread, which other processes do not inflate.

    Args:
        job: The training job.
        threads: CPU threads.
        zoo: Where its names are looked up.
        data_dir: Where dataset files are.
        datasets: Cache of loaded datasets, by the recipe's ``dataset`` section as JSON.
    """
    section, usual_threads = job.recipe.dataset, torch.get_num_threads()
    key = section.model_dump_json()
    if key not in datasets:
        entry = zoo.datasets.get(section.name)
        datasets[key] = load_part(entry, section.options, data_dir, "train", section.validation, section.count)
    try:
        torch.set_num_threads(threads)
        trainer = Trainer(job.recipe, zoo, dataset=datasets[key])
        clock = time.process_time if trainer.device.type == "cpu" else time.perf_counter
        share = threads if trainer.device.type == "cpu" else 1
        for _ in range(WARM_UP):
            trainer.step()
        trainer.meters.flush()
        started_at, steps = clock(), 0
        while steps == 0 or clock() - started_at < SECONDS * share:
            trainer.step()
            trainer.meters.flush()
            steps += 1
        return (clock() - started_at) / share / steps / trainer.images_per_step
    finally:
        torch.set_num_threads(usual_threads)
