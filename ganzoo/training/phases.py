"""An objective's phases with a recipe's changes, what their losses return, and the means of their scalars."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from ganzoo.api.objective import Phase
from ganzoo.build import require_call, require_roles
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, nearest


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
        sentence = (
            f"The phase '{phase.name}' of the loss '{recipe.loss.name}' has a loss that cannot be called with networks "
            "and a batch"
        )
        require_call(phase.loss, ("networks", "batch"), sentence, "Its parameters are (networks, batch).")
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
    groups: list[tuple[Phase, ...]] = []
    for original in phases:
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
                f"Recipe '{recipe.name}' changes when the phase '{phase.name}' runs, but it shares its fakes with "
                "others and so must run once in every step.",
                f"Set train.share_fakes: false, or remove phases.{phase.name}.",
            )
        sharing = next((at for at, group in enumerate(groups) if group[0].shares_fakes), None)
        if phase.shares_fakes and sharing is not None:
            groups[sharing] += (phase,)
        else:
            groups.append((phase,))
    return groups


def batches_per_step(phases: Iterable[Phase]) -> int:
    """Real batches that one step of these phases shows: the largest ``repeat`` of any phase."""
    return max(phase.repeat for phase in phases)


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


def check_losses(phase: str, losses: object) -> None:
    """Check what a phase's loss returns. Only Python attributes are read, so this does not wait for the device.

    Raises:
        GanzooError: It is not a mapping of scalar tensors, of which ``"loss"`` has a gradient.
    """
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
    """Sums of scalars by phase, on the device; ``flush`` is the only place that waits for it.

    Recording draws no random numbers and changes no weights, so the trained weights stay the same bit for bit.
    """

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._sums: dict[str, Tensor] = {}
        self._one: dict[torch.device, Tensor] = {}

    def add(self, phase: str, scalars: Mapping[str, Tensor]) -> None:
        """Add a phase's scalars, by name. The count is also on the device, so that a replayed graph increments it.

        Raises:
            GanzooError: The names differ from those of the phase's other steps.
        """
        names = self._names.setdefault(phase, tuple(scalars))
        if names != tuple(scalars):
            raise GanzooError(
                f"The phase '{phase}' logs {', '.join(names)} in one step, but {', '.join(scalars)} in another.",
                "Log the same scalars in the same order every time.",
            )
        values = [value.detach().float() for value in scalars.values()]
        if not values:
            return
        device = values[0].device
        if phase not in self._sums:
            self._sums[phase] = torch.zeros(1 + len(values), device=device)
            self._one.setdefault(device, torch.ones((), device=device))
        self._sums[phase].add_(torch.stack([self._one[device], *values]))

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
        for phase in self._sums:
            count, *totals = (next(flat) for _ in range(1 + len(self._names[phase])))
            if count:
                named = zip(self._names[phase], totals, strict=True)
                means |= {f"{phase}.{name}": total / count for name, total in named}
        return means
