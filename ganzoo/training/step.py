"""The adversarial step, in order of execution: batches, phases, loss, backward, optimizer, average.

``TrainingStep`` runs every phase that is due, as many times as it repeats. Phases that share fakes form one
``StepGroup`` on one batch; every other phase is its own group. A ``PhaseStep`` is one step of a phase's optimizers.
An engine (``training/engines``) only replaces a group with a faster function.

Losses and gradient norms are recorded on the device, and read only when they are logged. Recording draws no random
numbers and changes no weights, so the trained weights stay the same bit for bit.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganzoo.api.objective import Batch, Losses, Networks, Objective, Phase
from ganzoo.build import require_roles
from ganzoo.config.schema import Recipe
from ganzoo.data import Sampler
from ganzoo.errors import GanzooError, RunError, nearest
from ganzoo.training.distributed import Replicas
from ganzoo.training.optim import Ema

WATCH_EVERY = 16
"""Steps between gradient norms: each costs a percent or more of its step, and problems last for hundreds of steps."""

StepFn = Callable[[Mapping[str, Tensor]], None]
"""Processes one batch, given by column: latent codes, forward, backward, optimizer step."""


@dataclass
class TrainingStep:
    """One training step. Nothing in it waits for the device.

    Attributes:
        sampler: Real batches: this process's rows of each.
        groups: The phases, in order.
        run: Each group's function, as the engine made it.
        gradients: Where gradient norms are recorded.
        ema: The moving average, or None.
        total: Number of steps in the complete run.
        batches: Real batches in one step.
    """

    sampler: Sampler
    groups: Sequence[StepGroup]
    run: Sequence[StepFn]
    gradients: GradientWatch
    ema: Ema | None
    total: int
    batches: int

    def __call__(self, index: int) -> None:
        """Take the ``index``-th step, counted from 0."""
        batches = [self.sampler.next() for _ in range(self.batches)]
        for group, run in zip(self.groups, self.run, strict=True):
            if not group.runs_in(index, self.total):
                continue
            # The i-th repeat of each phase sees the i-th real batch.
            for columns in batches[: group.repeat]:
                run(columns)
            # Outside the group's function, which an engine may capture and replay.
            if index % WATCH_EVERY == 0:
                for step in group.phases:
                    self.gradients.note(step.phase)
        if self.ema is not None:
            self.ema.update(index)


@dataclass
class StepGroup:
    """The phases that run on one batch: a single phase, or several that share its fakes.

    Attributes:
        phases: Each phase's step, in order.
        objective: Generates the fakes that the phases share.
        networks: All networks, by role.
        latents: Draws the latent codes (n, latent) of this process.
        autocast: The context that forward passes run in.
    """

    phases: Sequence[PhaseStep]
    objective: Objective
    networks: Networks
    latents: Callable[[], Tensor]
    autocast: Callable[[], torch.autocast]

    def __post_init__(self) -> None:
        for step in self.phases[:-1]:
            step.is_last = False

    def __call__(self, columns: Mapping[str, Tensor]) -> None:
        """Take each phase's step on one batch."""
        batch = self.with_fakes(Batch.of(columns, self.latents()))
        for step in self.phases:
            step(batch)

    def with_fakes(self, batch: Batch) -> Batch:
        """The batch with the fakes that its phases share; gradients are on for all parameters that the phases train."""
        if not self.phases[0].phase.shares_fakes:
            return batch
        require_gradients(self.trained, ())
        with self.autocast():
            return replace(batch, fake=self.objective.fakes(self.networks, batch))

    @property
    def name(self) -> str:
        """The phases' names."""
        return " and ".join(step.phase.name for step in self.phases)

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
        return [parameter for step in self.phases for parameter in step.trained]

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules whose buffers a loss may change."""
        return (*self.networks.values(), self.objective)


class PhaseStep:
    """One step of a phase's optimizers.

    Args:
        phase: The loss, and the networks that it trains.
        networks: All networks, by role.
        optimizers: One for each role that the phase trains.
        autocast: The context that the loss runs in.
        replicas: The same networks in other processes.
        meters: Records the losses.
        frozen: Parameters that no phase trains.

    Attributes:
        trained: The parameters that get gradients.
        is_last: Whether no later phase needs the same batch's graph.
    """

    def __init__(
        self,
        phase: Phase,
        networks: nn.ModuleDict,
        optimizers: Sequence[torch.optim.Optimizer],
        autocast: Callable[[], torch.autocast],
        replicas: Replicas,
        meters: Meters,
        frozen: Sequence[nn.Parameter] = (),
    ) -> None:
        self.phase = phase
        left_out = {id(parameter) for parameter in frozen}
        self.trained = [p for role in phase.trains for p in networks[role].parameters() if id(p) not in left_out]
        members = {id(parameter) for parameter in self.trained}
        self._untrained = [p for p in networks.parameters() if id(p) not in members]
        self._networks = dict(networks.items())
        self._optimizers = optimizers
        self._autocast = autocast
        self._replicas = replicas
        self._meters = meters
        self.is_last = True

    def __call__(self, batch: Batch) -> None:
        """Forward, backward, optimizer step."""
        self.begin()
        losses = self.loss(batch)
        if not isinstance(losses, Mapping):
            raise GanzooError(
                f"The phase '{self.phase.name}' returns a {type(losses).__name__}, not a mapping.",
                'Return {"loss": ...}.',
            )
        loss = losses.get("loss")
        # Only Python attributes are read, so the check costs nothing and does not wait for the device.
        if not (isinstance(loss, Tensor) and loss.ndim == 0 and loss.requires_grad):
            if not isinstance(loss, Tensor):
                what = f"of type {type(loss).__name__}"
            elif loss.ndim:
                what = f"a tensor of shape {tuple(loss.shape)}"
            else:
                what = "a number without a gradient"
            raise GanzooError(
                f"The loss in the phase '{self.phase.name}' is {what}; it must be a scalar tensor with a gradient.",
                "Return its mean over the batch, computed from the networks that the phase trains.",
            )
        loss.backward()  # type: ignore[no-untyped-call]
        self.update(losses)

    def begin(self) -> None:
        """Turn gradients on for the parameters that the phase trains and off for all others; drop old gradients."""
        require_gradients(self.trained, self._untrained)
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def loss(self, batch: Batch) -> Losses:
        """The phase's losses, of which ``"loss"`` is minimised. May change buffers in place."""
        with self._autocast():
            return self.phase.loss(self._networks, batch)

    def update(self, losses: Losses) -> None:
        """Apply the gradients, and record the losses; does not wait for the device.

        Raises:
            RunError: A number that the optimizer computes from its options is too large for single precision.
        """
        self._replicas.average_gradients(self.trained, buffers=self.is_last)
        for optimizer in self._optimizers:
            try:
                optimizer.step()
            except RuntimeError as error:
                if "without overflow" not in str(error):
                    raise
                raise RunError(
                    f"The optimizer of {' and '.join(self.phase.trains)} computes numbers beyond single precision.",
                    "Lower its lr, or set its betas further from 1.",
                ) from error
        if self.phase.after is not None:
            with torch.no_grad():
                self.phase.after(self._networks)
        self._meters.add(self.phase.name, losses)


def frozen_parameters(networks: nn.ModuleDict, phases: Sequence[Phase], recipe: Recipe) -> list[nn.Parameter]:
    """The parameters that ``train.freeze`` names.

    Raises:
        GanzooError: A pattern matches none, or a phase would have nothing left to train.
    """
    named = dict(networks.named_parameters())
    frozen: set[str] = set()
    for pattern in recipe.train.freeze:
        matches = {name for name in named if fnmatchcase(name, pattern)}
        if not matches:
            raise GanzooError(
                f"train.freeze: no parameter is called '{pattern}'.",
                nearest(pattern, list(named)) or f"Parameters are {', '.join(list(named)[:6])}, ...",
            )
        frozen |= matches
    for phase in phases if frozen else ():
        own = [name for name in named if name.partition(".")[0] in phase.trains]
        if own and frozen.issuperset(own):
            raise GanzooError(
                f"train.freeze leaves the phase '{phase.name}' nothing to train.", "Freeze fewer parameters."
            )
    return [named[name] for name in named if name in frozen]


def require_gradients(trained: Sequence[nn.Parameter], untrained: Sequence[nn.Parameter]) -> None:
    """Turn gradients on for some parameters, and off for others."""
    for parameter in untrained:
        parameter.requires_grad = False
    for parameter in trained:
        parameter.requires_grad = True


def phase_groups(phases: Sequence[Phase], recipe: Recipe, networks: nn.ModuleDict) -> list[tuple[Phase, ...]]:
    """An objective's phases in groups, with the recipe's changes.

    Phases that share fakes form one group, in the position of the first; every other phase is its own group.

    Raises:
        GanzooError: A phase is listed twice, trains a network that does not exist or has a loss with other parameters,
            or the recipe changes a phase that does not exist, ends a phase before it begins, changes when a phase that
            shares fakes runs, or changes how often a lazy regularizer's phase runs.
    """
    for index, phase in enumerate(phases):
        if phase in phases[:index]:
            raise GanzooError(f"The phase '{phase.name}' is listed twice.", "Set its repeat instead.")
        require_roles(f"The phase '{phase.name}' trains", phase.trains, networks)
        try:
            inspect.signature(phase.loss).bind(networks, None)
        except ValueError:  # written in C without a signature
            continue
        except TypeError as error:
            raise GanzooError(
                f"The phase '{phase.name}' of the loss '{recipe.loss.name}' has a loss that cannot be called with "
                f"networks and a batch: {error}.",
                "Its parameters are (networks, batch).",
            ) from error
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
    changed = [
        replace(phase, **own.model_dump(exclude_none=True)) if (own := recipe.phases.get(phase.name)) else phase
        for phase in phases
    ]
    for phase in changed:
        if not phase.begin < phase.end:
            raise GanzooError(
                f"Recipe '{recipe.name}' begins the phase '{phase.name}' at {phase.begin:g} of training and ends it at "
                f"{phase.end:g}, so it never runs.",
                f"Set phases.{phase.name}.begin below phases.{phase.name}.end.",
            )
    sharing = tuple(phase for phase in changed if phase.shares_fakes)
    for phase in sharing:
        if (phase.repeat, phase.every_steps, phase.begin, phase.end) != (1, 1, 0, 1):
            raise GanzooError(
                f"Recipe '{recipe.name}' changes when the phase '{phase.name}' runs, but it shares its fakes with "
                "others and so must run once in every step.",
                f"Set train.share_fakes: false, or remove phases.{phase.name}.",
            )
    return [
        sharing if phase.shares_fakes else (phase,)
        for phase in changed
        if not phase.shares_fakes or phase is sharing[0]
    ]


def batches_per_step(phases: Iterable[Phase]) -> int:
    """Real batches that one step of these phases shows: the largest ``repeat`` of any phase."""
    return max(phase.repeat for phase in phases)


class Meters:
    """Sums of scalars by phase; ``flush`` is the only place that waits for the device."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._sums: dict[str, Tensor] = {}
        self._one: dict[torch.device, Tensor] = {}

    def add(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Add a phase's scalars, by name. The count is also on the device, so that a replayed graph increments it.

        Raises:
            GanzooError: A value is not a scalar tensor, or the names differ from those of the phase's other steps.
        """
        for name, value in losses.items():
            # Only Python attributes are read, so the check costs nothing and does not wait for the device.
            if not isinstance(value, Tensor) or value.ndim:
                shape = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else ""
                what = shape or f"of type {type(value).__name__}"
                raise GanzooError(f"The phase '{phase}' logs '{name}', {what}.", "Log scalar tensors.")
        names = self._names.get(phase, tuple(losses))
        if names != tuple(losses):
            raise GanzooError(
                f"The phase '{phase}' logs {', '.join(names)} in one step, but {', '.join(losses)} in another.",
                "Log the same scalars in the same order every time.",
            )
        scalars = [value.detach().float() for value in losses.values()]
        device = scalars[0].device
        if phase not in self._sums:
            self._names[phase] = names
            self._sums[phase] = torch.zeros(1 + len(scalars), device=device)
            self._one.setdefault(device, torch.ones((), device=device))
        self._sums[phase].add_(torch.stack([self._one[device], *scalars]))

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
        if not self._sums:
            return {}
        flat = iter(torch.cat(list(self._sums.values())).tolist())
        torch._foreach_zero_(list(self._sums.values()))
        means: dict[str, float] = {}
        for phase, names in self._names.items():
            count, *totals = (next(flat) for _ in range(1 + len(names)))
            if count:
                means |= {f"{phase}.{name}": total / count for name, total in zip(names, totals, strict=True)}
        return means


class GradientWatch(Meters):
    """Norms of gradients, by phase and network.

    ``flush`` gives their means, as ``{"<phase>.<role>": ...}``.

    Args:
        phases: The phases to record.
        networks: All networks, by role.
        frozen: Parameters that are not trained; a network with no others is left out.
    """

    def __init__(
        self, phases: Sequence[Phase], networks: Mapping[str, nn.Module], frozen: Iterable[nn.Parameter] = ()
    ) -> None:
        super().__init__()
        left_out = set(map(id, frozen))
        trained = {
            role: [parameter for parameter in network.parameters() if id(parameter) not in left_out]
            for role, network in networks.items()
        }
        self._parameters = {
            phase.name: {role: trained[role] for role in phase.trains if trained[role]} for phase in phases
        }

    def note(self, phase: Phase) -> None:
        """Record the gradients of a phase that has just run; does not wait for the device."""
        parameters = self._parameters[phase.name]
        if parameters:
            norms = {}
            for role, some in parameters.items():
                gradients = [p.grad for p in some if p.grad is not None]
                norms[role] = get_total_norm(gradients) if gradients else some[0].new_zeros(())
            self.add(phase.name, norms)
