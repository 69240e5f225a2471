"""What training costs.

A study's images, scorings and seconds on this machine, estimated from a few timed steps of each row; and the
floating-point operations of a recipe's step, which are counted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Batch
from ganzoo.build import assemble
from ganzoo.config.schema import Recipe
from ganzoo.data import load_part
from ganzoo.formatting import duration, short
from ganzoo.registry.loading import Zoo
from ganzoo.training.device import available_cores
from ganzoo.training.step import (
    PhaseStep,
    StepGroup,
    batches_per_step,
    frozen_parameters,
    phase_groups,
    require_gradients,
)
from ganzoo.training.trainer import Trainer
from ganzoo_studies.study import Study

WARM_UP = 2
"""Untimed steps before the timed ones: the first steps allocate memory."""
SECONDS = 0.5
"""Seconds of timed steps for each row; at least one step is timed."""


@dataclass(frozen=True)
class Cost:
    """The total cost of a study."""

    trainings: int  # training runs of the first look, over all rows, settings and seeds, without trials
    trials: int  # training runs in its search
    images: int  # real images shown until the first look, including trials
    scorings: int  # number of times that samples are scored, including trials
    seconds: float | None  # of training only, one run after another; None if nothing was timed
    per_image: Mapping[str, float]  # seconds per image of each row, in the first setting; empty if nothing was timed
    workers: int  # number of runs that this machine's cores can train at the same time

    def in_words(self, study: Study) -> Iterator[str]:
        """Lines on the number of training runs, their time on this machine, and the speed of each row."""
        cells = len(study.rows) * len(study.setting_names)
        trials = f", and {self.trials:,} trials of a search" if self.trials else ""
        yield (
            f"{self.trainings:,} training runs for {cells:,} rows and settings until the first look{trials}: "
            f"{short(self.images)} images"
        )
        if self.seconds is not None:
            threads = f"{study.threads} thread{'' if study.threads == 1 else 's'}"
            parallel = f"; {self.workers} in parallel: {duration(self.seconds / self.workers)}"
            yield (
                f"about {duration(self.seconds)} of training with {threads}{parallel if self.workers > 1 else ''}, "
                "estimated from a few steps of each row on this machine"
            )
            yield ", ".join(f"{row} {1 / seconds:,.0f}" for row, seconds in self.per_image.items()) + " images/s"
        yield f"samples are scored {self.scorings:,} times on top of that"


def cost_of(study: Study, zoo: Zoo, *, timed: bool, data_dir: Path | None = None) -> Cost:
    """Count a study's training runs and, if requested, time a few steps of each row."""
    cells, trials = study.cells(zoo), study.trials(zoo)
    # Rows or settings may share a run.
    runs = {job.key: (cell.row, job.recipe) for cell in cells for job in cell.jobs[: study.first_seeds(*cell.place)]}
    tried = {job.key: (trial.row, job.recipe) for trial in trials for job in trial.jobs}
    recipes = [*runs.values(), *tried.values()]
    first = {cell.row: cell.jobs[0].recipe for cell in cells if cell.setting == study.setting_names[0]}
    datasets: dict[str, Dataset] = {}
    per_image = {
        row: _seconds_per_image(recipe, study.threads, zoo, data_dir, datasets)
        for row, recipe in first.items()
        if timed
    }
    return Cost(
        trainings=len(runs),
        trials=len(tried),
        images=sum(recipe.train.images for _, recipe in recipes),
        scorings=sum(
            -(-recipe.train.images // (recipe.evaluate.every_images or recipe.train.images)) for _, recipe in recipes
        ),
        seconds=sum(per_image[row] * recipe.train.images for row, recipe in recipes) if timed else None,
        per_image=per_image,
        workers=max(1, available_cores() // study.threads),
    )


def _seconds_per_image(
    recipe: Recipe, threads: int, zoo: Zoo, data_dir: Path | None, datasets: dict[str, Dataset]
) -> float:
    """Seconds of training per image. On a CPU, this is CPU time per thread, which other processes do not inflate.

    Datasets that were loaded for other rows are in ``datasets``, by the recipe's ``dataset`` section as JSON.
    """
    section, usual_threads = recipe.dataset, torch.get_num_threads()
    key = section.model_dump_json()
    if key not in datasets:
        entry = zoo.datasets.get(section.name)
        datasets[key] = load_part(entry, section.options, data_dir, "train", section.validation, section.count)
    try:
        torch.set_num_threads(threads)
        trainer = Trainer(recipe, zoo, dataset=datasets[key])
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


def flops_per_image(recipe: Recipe, zoo: Zoo, dataset: Dataset) -> float:
    """Floating-point operations of a training step per real image shown.

    Matrix products and convolutions count, forward and backward, with a multiplication and an addition as two;
    elementwise operations, norms and optimizers are left out, as is customary. Each phase is weighted by the share of
    steps that it runs in. Nothing is computed: the tensors are fake tensors, which have only shapes, and torch's random
    state is unchanged.
    """
    with torch.random.fork_rng(devices=[]), FakeTensorMode(allow_non_fake_inputs=True):
        assembly = assemble(recipe, zoo, dataset.modality, len(dataset.classes), dataset.column_shapes)
        networks, objective = assembly.networks, assembly.objective
        groups = phase_groups(objective.phases(), recipe, networks)
        phases = [phase for group in groups for phase in group]
        frozen = frozen_parameters(networks, phases, recipe)
        require_gradients((), frozen)
        n, spec = recipe.train.batch_size, assembly.spec
        z = spec.prior.sample(n, torch.Generator(), torch.device("cpu"))
        columns = {name: torch.zeros(n, *one.shape[1:], dtype=one.dtype) for name, one in dataset.columns.items()}
        images, label = torch.zeros(n, *spec.shape), torch.zeros(n, dtype=torch.int64)
        batch = Batch.of({"image": images, "label": label, **columns}, z)
        total = 0.0
        for first, *others in groups:
            steps = [PhaseStep(phase, networks, (), nullcontext, frozen) for phase in (first, *others)]
            group = StepGroup(steps, objective, lambda: z)
            counter = FlopCounterMode(display=False)
            counter.mod_tracker = _NoTracker()
            with counter:
                group.forward_and_backward(batch)
            # How often a group runs per step, on average over the run.
            share = first.repeat / first.every_steps * (first.end - first.begin)
            total += share * counter.get_total_flops()
    return total / (n * batches_per_step(phases))


class _NoTracker(ModuleTracker):
    """Turns off counts by module, whose hooks in torch forbid the input gradients that penalties take."""

    def __enter__(self) -> _NoTracker:
        return self

    def __exit__(self, *error: object) -> None:
        return None
