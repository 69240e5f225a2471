"""The adversarial step, in order of execution: batches, phases, loss, backward, optimizer, average."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase
from ganzoo.data import Sampler
from ganzoo.training.distributed import Replicas
from ganzoo.training.optim import Ema, RoleOptimizer
from ganzoo.training.phases import Meters, check_losses


def adversarial_step(state: TrainingState, index: int) -> None:
    """Take the ``index``-th step, counted from 0. Nothing in it waits for the device."""
    batches = [state.sampler.next() for _ in range(state.batches)]
    for group in state.groups:
        if not group.runs_in(index, state.total):
            continue

        def train(columns: Mapping[str, Tensor], group: StepGroup = group) -> None:
            batch = group.with_fakes(Batch.of(columns, group.latents()))
            for phase in group.phases:
                phase.begin()
                losses = phase.loss(batch)
                losses["loss"].backward()  # type: ignore[no-untyped-call]
                state.replicas.average_gradients(phase.trained, buffers=phase is group.phases[-1])
                for optimizer in phase.optimizers:
                    optimizer.step()
                phase.after()
                state.meters.add(phase.name, losses)

        # The i-th repeat of each phase sees the i-th real batch. An engine may capture the work, and then replay it.
        for columns in batches[: group.repeat]:
            group.execute(train, columns)
        if index % WATCH_EVERY == 0:
            for phase in group.phases:
                state.gradients.add(phase.name, phase.gradient_norms())
    if state.ema is not None:
        state.ema.update(index)


WATCH_EVERY = 16
"""Steps between gradient norms: each costs a percent or more of its step, and problems last for hundreds of steps."""

StepFn = Callable[[Mapping[str, Tensor]], None]
"""Processes one batch, given by column: latent codes, forward, backward, optimizer step."""


@dataclass
class TrainingState:
    """What a step works on."""

    sampler: Sampler  # real batches: this process's rows of each
    groups: Sequence[StepGroup]  # the phases, in order
    replicas: Replicas
    meters: Meters  # where losses are recorded, on the device
    gradients: Meters  # where gradient norms are recorded, on the device
    ema: Ema | None
    batches: int  # real batches in one step
    total: int  # steps in the complete run


@dataclass
class StepGroup:
    """The phases that run on one batch: a single phase, or several that share its fakes."""

    phases: Sequence[PhaseStep]
    objective: Objective
    networks: Networks
    latents: Callable[[], Tensor]  # draws the latent codes (n, latent) of this process
    autocast: Callable[[], AbstractContextManager[object]]
    shares_fakes: bool
    execute: Callable[[StepFn, Mapping[str, Tensor]], None] = lambda train, columns: train(columns)

    def with_fakes(self, batch: Batch) -> Batch:
        """The batch with the fakes that its phases share; gradients are on for all parameters that the phases train."""
        if not self.shares_fakes:
            return batch
        require_gradients(self.trained, ())
        with self.autocast():
            return replace(batch, fake=self.objective.fakes(self.networks, batch))

    def forward_and_backward(self, batch: Batch) -> None:
        """What a step computes, without its optimizers: to try whether it can be captured, or to count its work."""
        batch = self.with_fakes(batch)
        for phase in self.phases:
            phase.begin()
            phase.eager_loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]

    @property
    def name(self) -> str:
        """The phases' names."""
        return " and ".join(phase.name for phase in self.phases)

    def runs_in(self, index: int, total: int) -> bool:
        """Whether it runs in the ``index``-th of ``total`` steps, counted from 0."""
        phase = self.phases[0].phase
        within = min(index, total - 1)  # rehearsed steps, which are undone, may run past the end
        return phase.begin * total <= within < phase.end * total and index % phase.every_steps == 0

    @property
    def repeat(self) -> int:
        """How many times it runs in one step."""
        return self.phases[0].phase.repeat

    @property
    def trained(self) -> list[nn.Parameter]:
        """The parameters that get gradients."""
        return [parameter for phase in self.phases for parameter in phase.trained]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules whose buffers a loss may change."""
        return (*self.networks.values(), self.objective)


class PhaseStep:
    """A phase with the optimizers of the networks that it trains.

    An engine may replace ``forward``, which returns the phase's losses, by a faster function.
    """

    def __init__(
        self,
        phase: Phase,
        networks: nn.ModuleDict,
        optimizers: Sequence[RoleOptimizer],
        autocast: Callable[[], AbstractContextManager[object]],
        frozen: Sequence[nn.Parameter] = (),
    ) -> None:
        self.phase, self.name, self.optimizers = phase, phase.name, optimizers
        self._networks, self._autocast = dict(networks.items()), autocast
        left_out = {id(parameter) for parameter in frozen}
        self._by_role = {
            role: [p for p in networks[role].parameters() if id(p) not in left_out] for role in phase.trains
        }
        self.trained = [parameter for some in self._by_role.values() for parameter in some]
        members = {id(parameter) for parameter in self.trained}
        self._untrained = [p for p in networks.parameters() if id(p) not in members]
        self.forward = self.eager_loss
        self._checked = False

    def begin(self) -> None:
        """Turn gradients on for the parameters that the phase trains and off for all others; drop old gradients."""
        require_gradients(self.trained, self._untrained)
        for optimizer in self.optimizers:
            optimizer.inner.zero_grad(set_to_none=True)

    def loss(self, batch: Batch) -> Losses:
        """The phase's losses, of which ``"loss"`` is minimised. May change buffers in place."""
        losses = self.forward(batch)
        if not self._checked:
            check_losses(self.name, losses)
            self._checked = True
        return losses

    def eager_loss(self, batch: Batch) -> Losses:
        """The losses as the objective computes them, unchecked."""
        with self._autocast():
            return self.phase.loss(self._networks, batch)

    def after(self) -> None:
        """What the phase does after its optimizers' step."""
        if self.phase.after is not None:
            with torch.no_grad():
                self.phase.after(self._networks)

    def gradient_norms(self) -> dict[str, Tensor]:
        """The norm of each network's gradients, by role; does not wait for the device."""
        norms = {}
        for role, parameters in self._by_role.items():
            gradients = [p.grad for p in parameters if p.grad is not None]
            if parameters:
                norms[role] = get_total_norm(gradients) if gradients else parameters[0].new_zeros(())
        return norms


def require_gradients(trained: Sequence[nn.Parameter], untrained: Sequence[nn.Parameter]) -> None:
    """Turn gradients on for some parameters, and off for others."""
    for parameter in untrained:
        parameter.requires_grad = False
    for parameter in trained:
        parameter.requires_grad = True
