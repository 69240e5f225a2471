"""Optimizers, schedules and the moving average of weights."""

from __future__ import annotations

import copy
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import get_total_norm
from torch.nn.utils.parametrizations import _SpectralNorm

from ganzoo.api.adversarial import AdversarialGame
from ganzoo.api.objective import Objective, Phase
from ganzoo.config.checking import OWN, known
from ganzoo.config.schema import Recipe, ScheduleConfig, initial
from ganzoo.errors import GanzooError, foreign_code, nearest

MEASURED = (_BatchNorm, _SpectralNorm)  # modules whose buffers depend on the weights
FUSED = ("adam", "adamw", "sgd")  # fastest if fused, even on CPUs; the others are faster with foreach
Setter = tuple[ScheduleConfig, Callable[[float], object]]  # sets the schedule's value for the next step


class RoleOptimizer:
    """The optimizer of one network."""

    def __init__(
        self,
        network: nn.Module,
        name: str,  # in lower case, see ganzoo.config.checking
        options: Mapping[str, Any],  # of torch's class; lr and each of the betas may be a schedule
        captured_on: torch.device | None = None,  # where an engine captures steps; the learning rate is a tensor there
        lazy_scale: float = 1.0,  # learning rates are multiplied by it, betas raised to its power
    ) -> None:
        self.lazy_scale = lazy_scale
        kind = known()[name]
        accepted = inspect.signature(kind).parameters
        speed = {"fused": True} if name in FUSED else {"foreach": True} if "foreach" in accepted else {}
        self.schedules: list[Setter] = [
            (beta, partial(self.set_beta, index))
            for index, beta in enumerate(options.get("betas", ()))
            if isinstance(beta, ScheduleConfig)
        ]
        if captured_on is not None:
            if "capturable" in accepted:
                speed["capturable"] = True
            elif name != "sgd":
                raise GanzooError(
                    f"The engine 'cudagraph' cannot capture the optimizer '{name}'.",
                    "Use train.engine=eager, or another optimizer.",
                )
            if self.schedules:  # torch's steps read betas as Python numbers, which a captured step never reads again
                raise GanzooError(
                    f"The engine 'cudagraph' cannot capture scheduled betas of '{name}'.",
                    "Use train.engine=eager, or fixed betas.",
                )
        if isinstance(options["lr"], ScheduleConfig):
            self.schedules.append((options["lr"], self.set_lr))
        first: dict[str, Any] = {key: initial(value) for key, value in options.items()}
        first["lr"] *= lazy_scale
        if "betas" in first:
            first["betas"] = tuple(beta**lazy_scale for beta in first["betas"])
        try:
            self.inner = kind(network.parameters(), **speed, **first)  # type: ignore[arg-type]
        except (ValueError, RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:200].rstrip(".")
            raise GanzooError(
                f"The optimizer '{name}' cannot train this network: {reason}.", "Change its options, or use 'adam'."
            ) from error
        if captured_on is not None:
            # Not earlier: constructors check these values, so the host would wait for the device.
            for group in self.inner.param_groups:
                group["lr"] = torch.tensor(float(group["lr"]), device=captured_on)

    def set_lr(self, value: float) -> None:
        """Set the learning rate, before lazy scaling."""
        value = value * self.lazy_scale
        for group in self.inner.param_groups:
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(value)
            else:
                group["lr"] = value

    def set_beta(self, index: int, value: float) -> None:
        """Set one of the betas, before lazy scaling."""
        for group in self.inner.param_groups:
            betas = list(group["betas"])
            betas[index] = value**self.lazy_scale
            group["betas"] = tuple(betas)

    def tensors(self) -> dict[str, Tensor]:
        """The state as tensors, named ``<parameter index>.<entry>``."""
        return {
            f"{index}.{key}": value if isinstance(value, Tensor) else torch.tensor(value)
            for index, entries in self.inner.state_dict()["state"].items()
            for key, value in entries.items()
            if value is not None
        }

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore what ``tensors()`` returned."""
        state: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        self.inner.load_state_dict({"state": state, "param_groups": self.inner.state_dict()["param_groups"]})
        # Fused steps traverse memory in order, so state needs the layout of its weight.
        for parameter, entries in self.inner.state.items():
            for key, value in entries.items():
                if value.shape == parameter.shape and value.stride() != parameter.stride():
                    entries[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def lazy_scale(role: str, phases: Sequence[Phase]) -> float:
    """The correction for lazy phases: the share of a role's optimizer steps that its every-step phases take.

    A penalty on every k-th step, in a separate step, makes k + 1 steps out of k. StyleGAN2 (Karras et al. 2020,
    arXiv:1912.04958, appendix B) corrects for it with the learning rate c λ and the decay rates β₁^c and β₂^c,
    c = k/(k + 1). With r updates in every step (``repeat``), c is kr/(kr + 1).
    """
    own = [phase for phase in phases if role in phase.trains]
    every_step = sum(phase.repeat for phase in own if phase.every_steps == 1)
    lazy = sum(phase.repeat / phase.every_steps for phase in own if phase.every_steps > 1)
    return every_step / (every_step + lazy) if every_step else 1.0


def refuse_other_roles(recipe: Recipe, roles: Iterable[str]) -> None:
    """Refuse optimizer settings for a network that does not exist, once losses have added theirs."""
    known = [*roles, "default"]
    for role in recipe.optimizers:
        if role not in known:
            raise GanzooError(
                f"Recipe '{recipe.name}' sets an optimizer for '{role}', but has no such network.", nearest(role, known)
            )


def build_optimizers(
    recipe: Recipe, networks: Mapping[str, nn.Module], phases: Sequence[Phase], captured_on: torch.device | None = None
) -> dict[str, RoleOptimizer]:
    """One optimizer for each network: the role's own settings, or the recipe's ``default``."""
    refuse_other_roles(recipe, networks)
    optimizers = {}
    for role, network in networks.items():
        config = recipe.optimizers.get(role) or recipe.optimizers.get("default")
        if config is None:
            raise GanzooError(
                f"Recipe '{recipe.name}' has no optimizer for '{role}'.",
                f"Add optimizers.{role}, or optimizers.default for every role that is not listed.",
            )
        options = {key: value for key, value in config.options.items() if key not in OWN}
        decay = config.options.get("decay")
        if decay in ("linear", "cosine") and not isinstance(options["lr"], ScheduleConfig):
            options["lr"] = ScheduleConfig(start=options["lr"], end=0.0, shape=decay)
        scale = lazy_scale(role, phases) if config.options.get("lazy_scaling") else 1.0
        optimizers[role] = RoleOptimizer(network, config.name, options, captured_on, scale)
    return optimizers


def broken_networks(networks: Mapping[str, nn.Module]) -> list[str]:
    """The roles of networks with a weight or a running statistic that is not finite; waits for the device."""
    largest = {}
    for role, network in networks.items():
        # Other buffers, such as an attention mask, may contain an infinity on purpose.
        measured = [module for module in network.modules() if isinstance(module, MEASURED)]
        tensors = [*network.parameters(), *(b for module in measured for b in module.buffers(recurse=False))]
        held = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
        if held:
            largest[role] = get_total_norm(held, math.inf)
    finite = torch.stack(list(largest.values())).isfinite().tolist() if largest else []
    return [role for role, whole in zip(largest, finite, strict=True) if not whole]


class Ema:
    """Exponential moving average of networks: parameters averaged, statistics measured, other buffers copied.

    The decay ramps up as min(decay, (1 + t) / (10 + t)), unless a run starts from another run's weights. Statistics of
    batch and spectral normalisation belong to the weights that they were computed with, so ``measure`` computes the
    averages' own, as BigGAN does for sampling ("standing statistics"; Brock et al. 2019, arXiv:1809.11096, appendix A).
    """

    def __init__(self, networks: Mapping[str, nn.Module], decay: float, *, ramp: bool = True) -> None:
        self.decay = decay  # weight of the old average, in [0, 1); schedules change it
        self._ramp = ramp
        self.networks = nn.ModuleDict()
        for role, network in networks.items():
            with foreign_code(
                f"The {role}, a {type(network).__name__}, cannot be copied for the average of its weights",
                "Keep locks, open files and generators out of its attributes. Without train.ema, no copy is made.",
            ):
                self.networks[role] = copy.deepcopy(network)
        self.networks.eval().requires_grad_(False)
        followed = nn.ModuleDict(networks)
        self._averages = [p.detach() for p in self.networks.parameters()]
        self._sources = [p.detach() for p in followed.parameters()]
        self._measured: list[tuple[nn.Module, nn.Module]] = []
        self._buffers: list[Tensor] = []
        self._source_buffers: list[Tensor] = []
        for own, source in zip(self.networks.modules(), followed.modules(), strict=True):
            if isinstance(own, MEASURED):
                self._measured.append((own, source))
            else:
                self._buffers += own.buffers(recurse=False)
                self._source_buffers += source.buffers(recurse=False)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move the averages towards the networks after the ``step``-th step, counted from 0."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self._ramp else self.decay
        torch._foreach_lerp_(self._averages, self._sources, 1 - decay)
        if self._buffers:
            torch._foreach_copy_(self._buffers, self._source_buffers)

    @torch.no_grad()
    def measure(self, run: Callable[[int], object], batches: int) -> None:
        """Measure the averages' own statistics: means over batches, and singular vectors by power iteration.

        ``run(i)`` passes the i-th batch through the networks; modules that it does not reach keep the trained ones.
        """
        if not self._measured:
            return
        for own, source in self._measured:
            for buffer, trained in zip(own.buffers(recurse=False), source.buffers(recurse=False), strict=True):
                buffer.copy_(trained)
            own.train()
        norms = [own for own, _ in self._measured if isinstance(own, _BatchNorm)]
        momenta = [norm.momentum for norm in norms]
        try:
            for index in range(batches):
                for norm in norms:
                    # The mean over all batches so far, without the trained network's statistics. torch's own way to do
                    # this, a momentum of None, waits for the device.
                    norm.momentum = 1 / (index + 1)
                run(index)
        finally:
            for norm, momentum in zip(norms, momenta, strict=True):
                norm.momentum = momentum
            self.networks.eval()


def schedule_setters(
    recipe: Recipe, objective: Objective, optimizers: Mapping[str, RoleOptimizer], ema: Ema | None, device: torch.device
) -> list[Setter]:
    """Connect schedules with what they change. Options become buffers, so engines must prepare phases later."""
    setters = [setter for optimizer in optimizers.values() for setter in optimizer.schedules]
    if isinstance(objective, AdversarialGame):
        modules = [*objective.regularizers, objective.augmentation]
        for module, component in zip(modules, [*recipe.regularizers, recipe.augmentation], strict=True):
            if module is not None and component is not None:
                for name, schedule in component.schedules().items():
                    setters.append((schedule, scheduled_buffer(module, component.name, name, device).fill_))
    if ema is not None and isinstance(recipe.train.ema, ScheduleConfig):
        setters.append((recipe.train.ema, partial(setattr, ema, "decay")))
    return setters


def scheduled_buffer(module: nn.Module, label: str, name: str, device: torch.device) -> Tensor:
    """A module's number as a scalar buffer, which captured steps read."""
    value = getattr(module, name, None)
    if name in vars(module) and isinstance(value, float | int):
        delattr(module, name)
        value = torch.tensor(float(value), device=device)
        # Not persistent: it depends only on the images shown, so checkpoints do not need it.
        module.register_buffer(name, value, persistent=False)
    if not isinstance(value, Tensor) or value.dim() != 0:
        raise GanzooError(
            f"'{label}' cannot schedule {name}: it has no numeric attribute of that name.",
            f"Set self.{name} in its constructor, and read it from there.",
        )
    return value
