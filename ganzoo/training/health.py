"""What a training reports of itself: mean losses, gradient norms, weights that are no longer finite.

Gradients are read on the device, on few steps, and looked at where losses are logged. Nothing here draws from the
training's random numbers or writes to a weight, so that a watched run trains to the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from ganzoo.api.objective import Phase

WATCH_EVERY = 16
"""Steps between readings: each costs a percent or more of its step, and a sickness lasts for hundreds of steps."""


class Meters:
    """Sums of scalars by phase; ``flush`` is the only place that waits for the device."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[str, ...]] = {}
        self._sums: dict[str, Tensor] = {}
        self._one: dict[torch.device, Tensor] = {}

    def add(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Add one report of a phase: scalars by name. It is counted on the device too, as a replayed graph does."""
        scalars = [value.detach().float() for value in losses.values()]
        device = scalars[0].device
        if phase not in self._sums:
            self._names[phase] = tuple(losses)
            self._sums[phase] = torch.zeros(1 + len(scalars), device=device)
            self._one.setdefault(device, torch.ones((), device=device))
        self._sums[phase].add_(torch.stack([self._one[device], *scalars]))

    def snapshot(self) -> Callable[[], None]:
        """The sums of this moment, as a function that rolls back to them."""
        sums = {phase: total.clone() for phase, total in self._sums.items()}

        def rollback() -> None:
            # In place, because what an engine captured adds to these tensors.
            for phase, total in self._sums.items():
                total.copy_(sums[phase]) if phase in sums else total.zero_()

        return rollback

    def flush(self) -> dict[str, float]:
        """The means since the last flush, as ``{"discriminator.loss": ...}``, and start anew."""
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


class GradientWatch:
    """Norms of the gradients that a phase left behind, by phase and network.

    Args:
        phases: The phases that will be noted.
        networks: All networks, by role.
    """

    def __init__(self, phases: Sequence[Phase], networks: Mapping[str, nn.Module]) -> None:
        self._parameters = {
            phase.name: {role: parameters for role in phase.trains if (parameters := list(networks[role].parameters()))}
            for phase in phases
        }
        self._meters = Meters()

    def note(self, phase: Phase) -> None:
        """Read the gradients of a phase that has just had its turn; does not wait for the device."""
        parameters = self._parameters[phase.name]
        if parameters:
            self._meters.add(phase.name, {role: _gradient_norm(some) for role, some in parameters.items()})

    def snapshot(self) -> Callable[[], None]:
        """The norms noted until this moment, as a function that rolls back to them."""
        return self._meters.snapshot()

    def flush(self) -> dict[str, float]:
        """Mean norms since the last flush, as ``{"<phase>.<role>": ...}``, and start anew; waits for the device."""
        return self._meters.flush()


def _gradient_norm(parameters: Sequence[nn.Parameter]) -> Tensor:
    gradients = [p.grad for p in parameters if p.grad is not None]
    return get_total_norm(gradients) if gradients else parameters[0].new_zeros(())


def broken_networks(networks: Mapping[str, nn.Module]) -> list[str]:
    """The roles of networks that hold a NaN or an infinity; waits for the device."""
    held = {role: _floats(network) for role, network in networks.items()}
    largest = {role: get_total_norm(tensors, math.inf) for role, tensors in held.items() if tensors}
    finite = torch.stack(list(largest.values())).isfinite().tolist() if largest else []
    return [role for role, whole in zip(largest, finite, strict=True) if not whole]


def _floats(network: nn.Module) -> list[Tensor]:
    return [t.detach() for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()]
