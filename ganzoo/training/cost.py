"""What a training step costs: its floating-point operations, which are counted, and its time by kind of work."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Final

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.profiler import ProfilerActivity, profile, record_function
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Batch
from ganzoo.build import assemble
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.phases import batches_per_step, frozen_parameters, phase_groups
from ganzoo.training.step import PhaseStep, StepGroup, require_gradients
from ganzoo.training.trainer import Trainer

STEP: Final = "a step of the training"
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"),
    "convolutions": ("convolution", "conv2d", "conv_transpose2d", "mkldnn"),
    "optimizer and moving average": ("adam", "rmsprop", "sgd", "Optimizer", "lerp", "_foreach"),
    "normalisation": ("batch_norm", "layer_norm", "group_norm", "native_norm"),
    "activations and loss": ("relu", "tanh", "sigmoid", "softplus", "threshold", "clamp", "elu", "log_sigmoid"),
    "images, latents and random numbers": ("index", "gather", "rand", "normal_", "uniform_", "multinomial"),
    "copies and number formats": ("copy_", "cat", "contiguous", "clone", "aten::to", "_to_copy"),
    "Python between operators": (STEP,),
}
"""Parts of operators' names; the first kind that matches counts, and the rest is ``other``."""


def flops_per_image(recipe: Recipe, zoo: Zoo, dataset: Dataset) -> float:
    """Floating-point operations of a training step per real image shown.

    Matrix products and convolutions count, forward and backward, with a multiplication and an addition as two;
    elementwise operations, norms and optimizers are left out, as is customary. Each phase is weighted by the share of
    steps that it runs in. Nothing is computed: the tensors are fake tensors, which have only shapes, and torch's random
    state is unchanged.

    Args:
        recipe: A validated recipe.
        zoo: The registries in which its names are looked up.
        dataset: The training images, for their sizes and types.
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
            group = StepGroup(steps, objective, dict(networks.items()), lambda: z, nullcontext, first.shares_fakes)
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


def shares_of_a_step(trainer: Trainer, steps: int = 40) -> dict[str, float]:
    """Shares of the time of some steps, by kind of work; they sum to 1.

    The steps are undone, so training continues bit for bit. The profiler itself takes some of the time, most of it
    between operators. On a GPU, this is the host's time, which is spent on launching operators.

    Args:
        trainer: A trainer past its first steps, which allocate memory.
        steps: How many steps to profile.
    """
    # Keeps the profiler's library from writing its own log to the terminal, unless the user wants it.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with trainer.rehearsal(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            with record_function(STEP):
                trainer.step()
    spent: Counter[str] = Counter(dict.fromkeys((*KINDS, "other"), 0.0))
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: time / spent.total() for kind, time in spent.items()}


def kind_of(operator: str) -> str:
    """The kind of work that an operator does."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "other")
