"""Optimizers, learning-rate decay, and the moving average of weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from ganzoo.errors import GanzooError, nearest
from ganzoo.recipes.loading import Recipe

OPTIMIZERS: Mapping[str, tuple[type[torch.optim.Optimizer], dict[str, bool], dict[str, bool]]] = {
    "adam": (torch.optim.Adam, {"fused": True}, {"capturable": True}),
    "adamw": (torch.optim.AdamW, {"fused": True}, {"capturable": True}),
    "sgd": (torch.optim.SGD, {"fused": True}, {}),
    "rmsprop": (torch.optim.RMSprop, {"foreach": True}, {"capturable": True}),
}
"""Name in a recipe: class, its fastest implementation, and what its steps have to be told where they are captured."""


class RoleOptimizer:
    """The optimizer of one network, with its learning-rate schedule.

    Args:
        network: What it updates.
        name: One of ``OPTIMIZERS``.
        decay: ``"constant"``, or ``"linear"`` or ``"cosine"`` to zero over the whole training.
        options: Keyword arguments of torch's class; ``lr`` among them.
        captured_on: The device that an engine captures steps on, whose learning rate then lies there too; None where
            steps are taken by the host.
    """

    def __init__(
        self,
        network: nn.Module,
        name: str,
        decay: str,
        options: Mapping[str, Any],
        captured_on: torch.device | None = None,
    ) -> None:
        kind, speed, captured = OPTIMIZERS[name]
        if captured_on is not None:
            speed = {**speed, **captured}
            options = {**options, "lr": torch.tensor(float(options["lr"]), device=captured_on)}
        self.inner = kind(network.parameters(), **speed, **options)  # type: ignore[arg-type]
        self.decay = decay
        self.base = float(options["lr"])

    def set_progress(self, done: float) -> None:
        """Set the learning rate for a share ``done`` in [0, 1] of the training."""
        if self.decay == "constant":
            return
        factor = 1 - done if self.decay == "linear" else (1 + math.cos(math.pi * done)) / 2
        for group in self.inner.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(self.base * factor)
            else:
                group["lr"] = self.base * factor

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors, named ``<parameter index>.<entry>``."""
        state: Mapping[int, Mapping[str, Any]] = self.inner.state_dict()["state"]
        return {
            f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for index, entries in state.items()
            for key, value in entries.items()
            if value is not None
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what ``tensors()`` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self.inner.load_state_dict({"state": state, "param_groups": self.inner.state_dict()["param_groups"]})
        # Fused steps go through memory as it lies: state has to lie as its weight does.
        for parameter, entries in self.inner.state.items():
            for key, value in entries.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def build_optimizers(
    recipe: Recipe, networks: Mapping[str, nn.Module], captured_on: torch.device | None = None
) -> dict[str, RoleOptimizer]:
    """One optimizer for each network: the role's own settings, or the recipe's ``default``.

    Args:
        recipe: A validated recipe.
        networks: By role.
        captured_on: See ``RoleOptimizer``.

    Raises:
        GanzooError: A role has no settings, or settings name a role that is not there.
    """
    for role in recipe.optimizers:
        if role != "default" and role not in networks:
            raise GanzooError(
                f"Recipe '{recipe.name}' sets an optimizer for '{role}', which is no network of it.",
                nearest(role, [*networks, "default"]),
            )
    optimizers = {}
    for role, network in networks.items():
        config = recipe.optimizers.get(role) or recipe.optimizers.get("default")
        if config is None:
            raise GanzooError(
                f"Recipe '{recipe.name}' has no optimizer for '{role}'.",
                f"Add optimizers.{role}, or optimizers.default for all that are not listed.",
            )
        options = config.model_dump(exclude={"name", "decay"})
        optimizers[role] = RoleOptimizer(network, config.name, config.decay, options, captured_on)
    return optimizers


class Ema:
    """Exponential moving average of networks: parameters averaged, buffers copied.

    The decay ramps up as min(decay, (1 + t) / (10 + t)), so that the first steps' weights are soon forgotten. Buffers
    (running statistics, spectral-norm vectors) follow the trained network, which is how torch's own averaging treats
    them by default.

    Args:
        networks: The networks to follow, by role.
        decay: Weight of the old average in each step, in (0, 1).
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float) -> None:
        self.decay = decay
        self.networks = nn.ModuleDict({role: copy.deepcopy(network) for role, network in networks.items()})
        self.networks.eval().requires_grad_(False)
        followed = list(networks.values())
        self._averages: list[Tensor] = list(self.networks.parameters())
        self._sources: list[Tensor] = [p.detach() for network in followed for p in network.parameters()]
        self._buffers: list[Tensor] = list(self.networks.buffers())
        self._source_buffers: list[Tensor] = [b for network in followed for b in network.buffers()]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the networks after the ``step``-th step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step))
        average = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        average(self._averages, self._sources, step)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._source_buffers)
