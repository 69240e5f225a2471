"""Phases as a training takes them: on the recipe's schedule, with gradients for those whose turn it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import nn

from ganzoo.api.objective import Phase
from ganzoo.errors import GanzooError, nearest
from ganzoo.recipes.loading import Recipe


def require_gradients(trained: Sequence[nn.Parameter], frozen: Sequence[nn.Parameter]) -> None:
    """Gradients for those whose turn it is, and none for the others."""
    for parameter in frozen:
        parameter.requires_grad = False
    for parameter in trained:
        parameter.requires_grad = True


def scheduled(phases: Sequence[Phase], recipe: Recipe) -> list[Phase]:
    """An objective's phases with the recipe's own schedule.

    Raises:
        GanzooError: The recipe changes a phase that is not there, or repeats one that shares fakes.
    """
    names = [phase.name for phase in phases]
    for name in recipe.phases:
        if name not in names:
            raise GanzooError(
                f"Recipe '{recipe.name}' changes a phase '{name}' that is not there.", nearest(name, names)
            )
    changed = []
    for phase in phases:
        override = recipe.phases.get(phase.name)
        given = override.model_dump(exclude_none=True) if override else {}
        changed.append(replace(phase, **given))
    for phase in changed:
        if phase.shares_fakes and (phase.repeat, phase.every_steps) != (1, 1):
            raise GanzooError(
                f"Recipe '{recipe.name}' changes when the phase '{phase.name}' runs, which shares its fakes "
                "with others and so runs once a step.",
                f"Set train.share_fakes: false, or remove phases.{phase.name}.",
            )
    return changed


def grouped(phases: Sequence[Phase]) -> list[tuple[Phase, ...]]:
    """The phases that share fakes together, where the first of them stands, and every other by itself."""
    sharing = tuple(phase for phase in phases if phase.shares_fakes)
    groups: list[tuple[Phase, ...]] = []
    for phase in phases:
        if not phase.shares_fakes:
            groups.append((phase,))
        elif phase is sharing[0]:
            groups.append(sharing)
    return groups
