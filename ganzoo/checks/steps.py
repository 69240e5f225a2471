"""Steps as the trainer takes them, and what must hold of whoever takes part: no waiting, no state that gets lost."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from ganzoo.api.objective import Objective, Phase
from ganzoo.api.spec import Spec
from ganzoo.checks.toys import batch
from ganzoo.checks.verdict import NO_VALUES, blaming, called, require
from ganzoo.registry.registry import Entry

AS_BUFFER = "Keep it with self.register_buffer(...) and change it in place, so that checkpoints hold it."


def turns(
    objective: Objective, networks: nn.ModuleDict, spec: Spec, n: int = 4, steps: int = 2
) -> Iterator[tuple[Phase, Mapping[str, Tensor]]]:
    """Take steps: each phase on a batch of its own, all other roles frozen.

    Args:
        objective: Bound to ``networks``.
        networks: By role.
        spec: The sizes both were built for.
        n: Images in a batch.
        steps: How often all phases are gone through.

    Yields:
        Each phase and what its loss returned, after the backward pass and before the optimizers' steps.
    """
    named = dict(networks.items())
    optimizers = {role: torch.optim.Adam(network.parameters(), lr=1e-4) for role, network in named.items()}
    for _ in range(steps):
        for phase in objective.phases():
            given = batch(n, spec)
            networks.zero_grad(set_to_none=True)
            for role, network in named.items():
                network.requires_grad_(role in phase.trains)
            losses = phase.loss(named, given)
            losses["loss"].backward()  # type: ignore[no-untyped-call]
            yield phase, losses
            for role in phase.trains:
                optimizers[role].step()
            if phase.after is not None:
                with torch.no_grad():
                    phase.after(named)


@contextmanager
def without_values(entry: Entry[Any]) -> Iterator[None]:
    """Fake tensors have no values: reading one, or deciding by one, raises, and the entry is blamed.

    Raises:
        Broken: Something read a value, or could not be built or run at all.
    """
    with (
        blaming(
            entry, "under FakeTensorMode, where tensors have no values, as they have none in a CUDA graph", NO_VALUES
        ),
        FakeTensorMode(),
    ):
        yield


def hidden_state(module: nn.Module) -> dict[str, Any]:
    """What modules keep in plain attributes, where no checkpoint looks: tensors, and numbers that may change.

    Returns:
        By dotted attribute, a copy of each tensor, number, or list or dict.
    """
    found: dict[str, Any] = {}
    for prefix, part in module.named_modules():
        for name, value in vars(part).items():
            if (name.startswith("_") and name in nn.Module().__dict__) or name == "training":
                continue
            if isinstance(value, (Tensor, bool, int, float, list, dict, tuple)):
                found[f"{prefix}.{name}".lstrip(".")] = copy.deepcopy(value) if _copied(value) else value
    return found


def require_no_hidden_state(entry: Entry[Any], before: Mapping[str, Any], module: nn.Module) -> None:
    """Raise where a module keeps a tensor outside of its buffers, or changed a plain attribute while it was trained.

    Args:
        entry: Whose modules they are.
        before: What ``hidden_state`` gave before any step.
        module: The same module after some.

    Raises:
        Broken: It has state that a checkpoint loses.
    """
    for name, value in hidden_state(module).items():
        require(
            not _has_tensor(value),
            f"{called(entry)} keeps a tensor in the plain attribute '{name}', which no checkpoint holds and no device "
            "follows.",
            AS_BUFFER,
        )
        require(
            name not in before or repr(before[name]) == repr(value),
            f"{called(entry)} changes its plain attribute '{name}' in training, and no checkpoint holds it.",
            AS_BUFFER,
        )


def _copied(value: Any) -> bool:
    return not isinstance(value, Tensor) and not _has_tensor(value) and not _has_module(value)


def _has_tensor(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return any(_has_tensor(item) for item in value)
    if isinstance(value, dict):
        return any(_has_tensor(item) for item in value.values())
    return isinstance(value, Tensor)


def _has_module(value: Any) -> bool:
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return any(isinstance(item, nn.Module) for item in inside)
