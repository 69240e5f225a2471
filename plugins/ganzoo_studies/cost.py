"""What training costs.

A study's core-hours on this machine, measured by a few steps of each row and one run's scoring; and the floating-point
operations of a recipe's step, which are counted.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from timeit import Timer

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Batch
from ganzoo.build import assemble
from ganzoo.config.schema import Recipe
from ganzoo.data import load_part
from ganzoo.formatting import short
from ganzoo.registry.loading import Zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo.runs.start import start
from ganzoo.training.step import (
    PhaseStep,
    StepGroup,
    batches_per_step,
    frozen_parameters,
    phase_groups,
    require_gradients,
)
from ganzoo.training.trainer import Trainer
from ganzoo_studies.study import BASELINE, TUNING_SEEDS, VALIDATION_SEEDS, Study
from ganzoo_studies.verdicts import LOOKS

REFERENCE = "reference"
"""The reference of the gates, among the rows."""

Planned = tuple[str, Recipe]
"""A training run: its row and its recipe."""


@dataclass(frozen=True)
class Stage:
    """What a part of a study costs."""

    runs: int
    images: int  # real images shown
    core_hours: float | None  # None if nothing was timed


@dataclass(frozen=True)
class Cost:
    """What a study costs."""

    stages: Mapping[str, Stage]  # in order
    per_image: Mapping[str, float]  # seconds per image of each row, in the first setting; empty if nothing was timed
    per_scoring: float | None  # seconds to score the baseline once; None if nothing was timed
    hardware: str  # that this was measured on

    def in_words(self) -> Iterator[str]:
        """Lines on the stages, and on the speeds that they were estimated from."""
        for name, stage in self.stages.items():
            if stage.runs:
                hours = "" if stage.core_hours is None else f", {stage.core_hours:.2g} core-hours"
                yield f"{name}: {stage.runs:,} runs, {short(stage.images)} images{hours}"
        if self.per_scoring is not None:
            speeds = ", ".join(f"{row} {1 / seconds:,.0f}" for row, seconds in self.per_image.items())
            yield f"measured on {self.hardware}: {speeds} images/s; {self.per_scoring:.1f} s to score"


def cost_of(study: Study, zoo: Zoo, *, timed: bool, data_dir: Path | None = None) -> Cost:
    """Count a study's training runs and, if requested, time a few steps of each row, and the scoring of one run."""
    cells, trials, references = study.cells(zoo), study.trials(zoo), study.references(zoo)
    tried = Counter(trial.place for trial in trials)
    tuning: list[Planned] = [(one.row, one.jobs[0].recipe) for one in trials if tried[one.place] > 1]
    gates: list[Planned] = [(REFERENCE, one.jobs[0].recipe) for one in references] * VALIDATION_SEEDS
    for one in {trial.place: trial for trial in trials}.values():
        seeds = 0 if tried[one.place] == 1 else 1 if study.is_quick else TUNING_SEEDS
        planned = (one.row, one.jobs[0].recipe)
        tuning += [planned] * 2 * max(0, seeds - 1)
        if study.gates is not None and study.first_seeds(*one.place) == LOOKS[0]:
            gates += [planned] * (VALIDATION_SEEDS - seeds)
    first = {cell: study.first_seeds(*cell.place) for cell in cells}
    most = {cell: LOOKS[-1] if seeds == LOOKS[0] else seeds for cell, seeds in first.items()}
    looks = [  # rows or settings may share a run
        {job.key: (cell.row, job.recipe) for cell, n in seeds.items() for job in cell.jobs[:n]}
        for seeds in (first, most)
    ]
    rows = {one.row: one.jobs[0].recipe for one in cells if one.setting == cells[0].setting}
    if references:
        rows[REFERENCE] = references[0].jobs[0].recipe
    given = study.threads, zoo, data_dir
    per_image = {row: seconds_per_image(recipe, *given) for row, recipe in rows.items() if timed}
    per_scoring = _seconds_per_scoring(rows[BASELINE], *given) if timed else None

    def stage(runs: Sequence[Planned]) -> Stage:
        images = sum(recipe.train.images for _, recipe in runs)
        if per_scoring is None:
            return Stage(len(runs), images, None)
        # A run is scored at these intervals, and at its end.
        scorings = [-(-one.train.images // (one.evaluate.every_images or one.train.images)) for _, one in runs]
        seconds = per_scoring * sum(scorings) + sum(per_image[row] * one.train.images for row, one in runs)
        return Stage(len(runs), images, seconds * study.threads / 3600)

    stages = {
        "tuning, unless ranges are extended": tuning,
        "gates": gates,
        "first look": [*looks[0].values()],
        "all looks, at most": [*looks[1].values()],
    }
    made_on = hardware_in_words(environment(resolve_device(rows[BASELINE].train.device)))
    return Cost({name: stage(runs) for name, runs in stages.items()}, per_image, per_scoring, made_on)


def _seconds_per_scoring(recipe: Recipe, threads: int, zoo: Zoo, data_dir: Path | None) -> float:
    """Seconds that a run of one step takes, nearly all of them to score its samples; see ``_clock``."""
    evaluate = recipe.evaluate.model_copy(update={"every_images": None})
    one_step = recipe.with_train(images=recipe.train.batch_size).model_copy(update={"evaluate": evaluate})
    clock = _clock(resolve_device(recipe.train.device), threads)
    with TemporaryDirectory() as folder:
        began = clock()
        start(one_step, zoo, Path(folder) / "run", data_dir=data_dir)
        return clock() - began


def seconds_per_image(recipe: Recipe, threads: int, zoo: Zoo, data_dir: Path | None) -> float:
    """Seconds of training per image, see ``_clock``."""
    section, entry = recipe.dataset, zoo.datasets.get(recipe.dataset.name)
    dataset = load_part(entry, section.options, data_dir, "train", section.validation, section.count)
    usual_threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        trainer = Trainer(recipe, zoo, dataset=dataset)

        def step() -> None:
            trainer.step()
            trainer.meters.flush()

        step()  # untimed: it allocates memory
        steps, seconds = Timer(step, timer=_clock(trainer.device, threads)).autorange()
        return seconds / steps / trainer.images_per_step
    finally:
        torch.set_num_threads(usual_threads)


def _clock(device: torch.device, threads: int) -> Callable[[], float]:
    """Seconds: on a CPU, those that each thread computes, which other programs do not inflate."""
    return time.perf_counter if device.type != "cpu" else lambda: time.process_time() / threads


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
        if "source" in columns:
            columns["source"] = spec.modality.inputs(columns["source"])  # as the sampler does
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
