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
        self._counts: dict[str, int] = {}

    def add(self, phase: str, losses: Mapping[str, Tensor]) -> None:
        """Add one report of a phase: scalars by name."""
        values = torch.stack([value.detach().float() for value in losses.values()])
        if phase in self._sums:
            self._sums[phase].add_(values)
            self._counts[phase] += 1
        else:
            self._names[phase] = tuple(losses)
            self._sums[phase] = values
            self._counts[phase] = 1

    def flush(self) -> dict[str, float]:
        """The means since the last flush, as ``{"discriminator.loss": ...}``, and start anew."""
        if not self._sums:
            return {}
        flat = torch.cat([total / self._counts[phase] for phase, total in self._sums.items()]).tolist()
        names = [f"{phase}.{name}" for phase in self._sums for name in self._names[phase]]
        self._sums.clear()
        self._counts.clear()
        return dict(zip(names, flat, strict=True))
