"""Running means of what phases report, kept on the device until somebody looks."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


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
