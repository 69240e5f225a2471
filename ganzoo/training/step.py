"""The adversarial step, in order of execution: batches, phases, loss, backward, optimizer, average. Then its phases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganzoo.api.objective import Batch, Losses, Objective, Phase
from ganzoo.build import require_call, require_roles
from ganzoo.config.schema import Recipe
from ganzoo.data import Sampler
from ganzoo.errors import GanzooError, nearest
from ganzoo.training.distributed import Replicas
from ganzoo.training.optim import Ema, RoleOptimizer


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
                    optimizer.inner.step()
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


WATCH_EVERY = 16  # steps between gradient norms, which cost a percent or more of a step; problems last for hundreds
StepFn = Callable[[Mapping[str, Tensor]], None]  # processes one batch, given by column


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


class StepGroup:
    """The phases that run on one batch: a single phase, or several that share its fakes."""

    def __init__(self, phases: Sequence[PhaseStep], objective: Objective, latents: Callable[[], Tensor]) -> None:
        self.phases, self.latents, self.objective = phases, latents, objective
        self.name = " and ".join(phase.name for phase in phases)
        self.shares_fakes, self.repeat = phases[0].phase.shares_fakes, phases[0].phase.repeat
        self.trained = [parameter for phase in phases for parameter in phase.trained]
        self.modules = (*phases[0].networks.values(), objective)  # a loss may change their buffers
        self.execute: Callable[[StepFn, Mapping[str, Tensor]], None] = lambda train, columns: train(columns)

    def runs_in(self, index: int, total: int) -> bool:
        """Whether it runs in the ``index``-th of ``total`` steps, counted from 0."""
        phase = self.phases[0].phase
        within = min(index, total - 1)  # rehearsed steps, which are undone, may run past the end
        return phase.begin * total <= within < phase.end * total and index % phase.every_steps == 0

    def with_fakes(self, batch: Batch) -> Batch:
        """The batch with the fakes that its phases share; gradients are on for all parameters that the phases train."""
        if not self.shares_fakes:
            return batch
        require_gradients(self.trained, ())
        with self.phases[0].autocast():
            return replace(batch, fake=self.objective.fakes(self.phases[0].networks, batch))

    def forward_and_backward(self, batch: Batch) -> None:
        """What a step computes, without its optimizers: to try whether it can be captured, or to count its work."""
        batch = self.with_fakes(batch)
        for phase in self.phases:
            phase.begin()
            phase.eager_loss(batch)["loss"].backward()  # type: ignore[no-untyped-call]


class PhaseStep:
    """A phase with its networks' optimizers; an engine may replace ``forward``, which returns its losses."""

    def __init__(
        self,
        phase: Phase,
        networks: nn.ModuleDict,
        optimizers: Sequence[RoleOptimizer],
        autocast: Callable[[], AbstractContextManager[object]],
        frozen: Sequence[nn.Parameter] = (),
    ) -> None:
        self.phase, self.name, self.optimizers, self.autocast = phase, phase.name, optimizers, autocast
        self.networks = dict(networks.items())
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
        with self.autocast():
            return self.phase.loss(self.networks, batch)

    def after(self) -> None:
        """What the phase does after its optimizers' step."""
        if self.phase.after is not None:
            with torch.no_grad():
                self.phase.after(self.networks)

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


def check_losses(phase: str, losses: object) -> None:
    """Refuse all but scalar tensors by name, of which ``"loss"`` has a gradient; does not wait for the device."""
    if not isinstance(losses, Mapping):
        raise GanzooError(
            f"The phase '{phase}' returns a {type(losses).__name__}, not a mapping.", 'Return {"loss": ...}.'
        )
    for name in [*(name for name in losses if name != "loss"), "loss"]:  # a penalty's own name says more
        value = losses.get(name)
        what = ""
        if not isinstance(value, Tensor):
            what = f"of type {type(value).__name__}"
        elif value.ndim:
            what = f"a tensor of shape {tuple(value.shape)}"
        elif name == "loss" and not value.requires_grad:
            what = "a number without a gradient"
        if what and name == "loss":
            raise GanzooError(
                f"The loss in the phase '{phase}' is {what}; it must be a scalar tensor with a gradient.",
                "Return its mean over the batch, computed from the networks that the phase trains.",
            )
        if what:
            raise GanzooError(f"The phase '{phase}' logs '{name}', {what}.", "Log scalar tensors.")


class Meters:
    """Sums of scalars by phase, on the device; ``flush`` is the only place that waits for it."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._sums: dict[str, Tensor] = {}
        self._ones: dict[str, Tensor] = {}

    def add(self, phase: str, scalars: Mapping[str, Tensor]) -> None:
        """Add a phase's scalars. The count is also on the device, so that a replayed graph increments it."""
        names = self._names.setdefault(phase, tuple(scalars))
        if names != tuple(scalars):
            raise GanzooError(
                f"The phase '{phase}' logs {', '.join(names)} in one step, but {', '.join(scalars)} in another.",
                "Log the same scalars in the same order every time.",
            )
        values = [value.detach().float() for value in scalars.values()]
        if not values:
            return
        if phase not in self._sums:
            self._sums[phase] = torch.zeros(1 + len(values), device=values[0].device)
            self._ones[phase] = torch.ones((), device=values[0].device)
        self._sums[phase].add_(torch.stack([self._ones[phase], *values]))

    def snapshot(self) -> Callable[[], None]:
        """Save the current sums; returns a function that restores them."""
        sums = {phase: total.clone() for phase, total in self._sums.items()}

        def rollback() -> None:
            # In place, because captured work adds to these tensors.
            for phase, total in self._sums.items():
                total.copy_(sums[phase]) if phase in sums else total.zero_()

        return rollback

    def flush(self) -> dict[str, float]:
        """Return the means since the last flush, as ``{"discriminator.loss": ...}``, and reset."""
        means: dict[str, float] = {}
        for phase, total in self._sums.items():
            count, *sums = total.tolist()
            total.zero_()
            if count:
                means |= {f"{phase}.{name}": one / count for name, one in zip(self._names[phase], sums, strict=True)}
        return means


def phase_groups(phases: Sequence[Phase], recipe: Recipe, networks: nn.ModuleDict) -> list[tuple[Phase, ...]]:
    """Phases with the recipe's changes, in groups: those that share fakes form one, in the position of the first."""
    for phase in phases:
        require_roles(f"The phase '{phase.name}' trains", phase.trains, networks)
        require_call(
            phase.loss,
            ("networks", "batch"),
            f"The phase '{phase.name}' of the loss '{recipe.loss.name}' has a loss that cannot be called with networks "
            "and a batch",
            "Its parameters are (networks, batch).",
        )
    names = [phase.name for phase in phases]
    for name, override in recipe.phases.items():
        if name not in names:
            raise GanzooError(
                f"Recipe '{recipe.name}' changes the phase '{name}', which its loss does not have.",
                nearest(name, names),
            )
        if recipe.regularizers and "/" in name and override.every_steps is not None:
            raise GanzooError(
                f"Recipe '{recipe.name}' sets every_steps of the phase '{name}', but its penalty is multiplied by the "
                "regularizer's own every_steps.",
                "Set the regularizer's every_steps instead.",
            )
    groups: dict[int, tuple[Phase, ...]] = {}
    for index, original in enumerate(phases):
        own = recipe.phases.get(original.name)
        phase = replace(original, **own.model_dump(exclude_none=True)) if own else original
        if not phase.begin < phase.end:
            raise GanzooError(
                f"Recipe '{recipe.name}' begins the phase '{phase.name}' at {phase.begin:g} of training and ends it at "
                f"{phase.end:g}, so it never runs.",
                f"Set phases.{phase.name}.begin below phases.{phase.name}.end.",
            )
        if phase.shares_fakes and (phase.repeat, phase.every_steps, phase.begin, phase.end) != (1, 1, 0, 1):
            raise GanzooError(
                f"The phase '{phase.name}' of recipe '{recipe.name}' shares its fakes with others, so it must run once "
                "in every step.",
                f"Remove phases.{phase.name} or, if the loss allows it, set train.share_fakes: false.",
            )
        group = -1 if phase.shares_fakes else index
        groups[group] = (*groups.get(group, ()), phase)
    return list(groups.values())


def batches_per_step(phases: Sequence[Phase]) -> int:
    """Real batches that one step of these phases shows: the largest ``repeat`` of any phase."""
    return max(phase.repeat for phase in phases)


def frozen_parameters(networks: nn.ModuleDict, phases: Sequence[Phase], recipe: Recipe) -> list[nn.Parameter]:
    """The parameters that ``train.freeze`` names; every phase must have something left to train."""
    named = dict(networks.named_parameters())
    frozen: set[str] = set()
    for pattern in recipe.train.freeze:
        matches = {name for name in named if fnmatchcase(name, pattern)}
        if not matches:
            meant = get_close_matches(pattern, named, n=1)
            hint = f"Did you mean '{meant[0]}'?" if meant else f"Parameters are {', '.join(list(named)[:6])}, ..."
            raise GanzooError(f"train.freeze: no parameter is called '{pattern}'.", hint)
        frozen |= matches
    for phase in phases if frozen else ():
        own = [name for name in named if name.partition(".")[0] in phase.trains]
        if own and frozen.issuperset(own):
            raise GanzooError(
                f"train.freeze leaves the phase '{phase.name}' nothing to train.", "Freeze fewer parameters."
            )
    return [named[name] for name in named if name in frozen]
