"""The cost of a training step, counted rather than measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode
from torch.utils.module_tracker import ModuleTracker

from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Batch, Phase
from ganzoo.build import Assembly, assemble
from ganzoo.config.schema import Recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.step import batches_per_step, frozen_parameters, phase_groups, require_gradients


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
        groups = phase_groups(assembly.objective.phases(), recipe, assembly.networks)
        phases = [phase for group in groups for phase in group]
        n, spec = recipe.train.batch_size, assembly.spec
        z = spec.prior.sample(n, torch.Generator(), torch.device("cpu"))
        columns = {name: torch.zeros(n, *one.shape[1:], dtype=one.dtype) for name, one in dataset.columns.items()}
        images, label = torch.zeros(n, *spec.shape), torch.zeros(n, dtype=torch.int64)
        batch = Batch.of({"image": images, "label": label, **columns}, z)
        # How often a group runs per step, on average over the run.
        shares = [group[0].repeat / group[0].every_steps * (group[0].end - group[0].begin) for group in groups]
        frozen = frozen_parameters(assembly.networks, phases, recipe)
        total = sum(share * _flops(group, assembly, batch, frozen) for share, group in zip(shares, groups, strict=True))
    return total / (n * batches_per_step(phases))


def _flops(group: Sequence[Phase], assembly: Assembly, batch: Batch, frozen: Sequence[nn.Parameter]) -> int:
    networks = dict(assembly.networks.items())
    every, left_out = list(assembly.networks.parameters()), {id(parameter) for parameter in frozen}

    def trained(phases: Sequence[Phase]) -> list[nn.Parameter]:
        roles = [role for phase in phases for role in phase.trains]
        return [p for role in roles for p in networks[role].parameters() if id(p) not in left_out]

    counter = FlopCounterMode(display=False)
    counter.mod_tracker = _NoTracker()
    with counter:
        if group[0].shares_fakes:
            require_gradients(trained(group), every)
            batch = replace(batch, fake=assembly.objective.fakes(networks, batch))
        for phase in group:
            require_gradients(trained([phase]), every)
            phase.loss(networks, batch)["loss"].backward()  # type: ignore[no-untyped-call]
    return counter.get_total_flops()


class _NoTracker(ModuleTracker):
    """Turns off counts by module, whose hooks in torch forbid the input gradients that penalties take."""

    def __enter__(self) -> _NoTracker:
        return self

    def __exit__(self, *error: object) -> None:
        return None
