"""What the processes of one training keep alike: weights, buffers, and the record of everyone's random numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ganzoo.errors import RunError
from ganzoo.training.distributed import Team
from ganzoo.training.rng import derive_seed, global_state, restore_global_state


class SharedState:
    """Networks and objective, the same in all processes of a team; in a lone process it does nothing.

    Gradients are averaged, so that a step is that of the whole batch. So are buffers that change (running averages,
    an augmentation's strength), with the gradients: what follows from one process's images becomes what follows from
    everyone's, and a phase's ``after`` sees it so.

    Args:
        team: The processes.
        modules: What holds weights and buffers; the leader's values hold from now on.
    """

    def __init__(self, team: Team, modules: Sequence[nn.Module]) -> None:
        self._team = team
        parameters = [p.detach() for module in modules for p in module.parameters()]
        team.adopt([*parameters, *(b for module in modules for b in module.buffers())])
        kept = [b for module in modules for b in _kept(module)]
        self._averaged = [b for b in kept if b.is_floating_point()]
        self._whole = [b for b in kept if not b.is_floating_point()]

    def average(self, trained: Sequence[nn.Parameter]) -> None:
        """After a backward pass: gradients of these parameters, and all buffers, in one exchange."""
        if self._team.size > 1:
            self._team.average([*(p.grad for p in trained if p.grad is not None), *self._averaged])

    def mean(self, values: Mapping[str, float]) -> dict[str, float]:
        """The mean over all processes of each value."""
        if not values:
            return {}
        means = torch.tensor(list(values.values()), dtype=torch.float64)
        self._team.average([means])
        return dict(zip(values, means.tolist(), strict=True))

    def refuse_apart(self) -> None:
        """See that buffers of whole numbers, which have no mean, are the same in all processes; waits for the device.

        Raises:
            RunError: They follow from what each process saw.
        """
        if self._team.size == 1 or not self._whole:
            return
        sums = torch.stack([b.double().sum() for b in self._whole]).tolist()
        extremes = self._team.highest([*sums, *(-one for one in sums)])
        if any(a != -b for a, b in zip(extremes[: len(sums)], extremes[len(sums) :], strict=True)):
            raise RunError(
                "This recipe keeps whole numbers that follow from the images of one process, and have no mean.",
                "Train it in one process.",
            )


def _kept(module: nn.Module) -> list[Tensor]:
    """Buffers that a checkpoint holds; the others are constants."""
    names = module.state_dict().keys()
    return [buffer for name, buffer in module.named_buffers() if name in names]


def random_states(team: Team, device: torch.device) -> dict[str, Tensor]:
    """Every process's own generators, for a checkpoint: the leader's as a lone process's, the others' by rank."""
    states: dict[str, Tensor] = {}
    for name, own in global_state(device).items():
        leader, *others = team.gather(own)
        states[f"random.{name}"] = leader
        states |= {f"ranks.{rank}.random.{name}": one for rank, one in enumerate(others, 1)}
    return states


def restore_random(tensors: Mapping[str, Tensor], team: Team, device: torch.device, otherwise: int) -> None:
    """Restore what ``random_states`` gave; a process that was not there then is seeded by ``otherwise``."""
    prefix = "random." if team.leads else f"ranks.{team.rank}.random."
    states = {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}
    if states or team.leads:
        restore_global_state(states, device)
    else:
        torch.manual_seed(training_seed(otherwise, team))


def training_seed(seed: int, team: Team) -> int:
    """Of torch's own generators in this process: what losses and networks draw differs between processes."""
    return derive_seed(seed, "training" if team.leads else f"training/{team.rank}")
