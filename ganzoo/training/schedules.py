"""Numbers that change during training: learning rates, betas, weights of regularizers, EMA decay, augmentation."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ganzoo.api.adversarial import AdversarialGame
from ganzoo.api.objective import Objective
from ganzoo.config.schema import Recipe, ScheduleConfig
from ganzoo.errors import GanzooError
from ganzoo.training.optim import Ema, RoleOptimizer


@dataclass(frozen=True)
class Schedule:
    """A number as a function of the real images shown.

    With t the share of ``images`` shown after ``delay``, within [0, 1]:

        linear       end + (start - end) (1 - t)
        cosine       end + (start - end) (1 + cos πt) / 2      (Loshchilov and Hutter 2017, without restarts)
        exponential  start (end / start)^t

    Attributes:
        start: The value until ``delay``.
        end: The value from ``delay + images`` on.
        shape: How it gets from one to the other; ``constant`` stays at ``start``.
        images: Real images that this takes.
        delay: Real images before it begins.
    """

    start: float
    end: float
    shape: Literal["linear", "cosine", "exponential", "constant"]
    images: int
    delay: int = 0

    @classmethod
    def of(cls, config: ScheduleConfig, total: int) -> Schedule:
        """A recipe's schedule in a training of ``total`` images."""
        end = config.start if config.end is None else config.end
        images = max(1, total - config.delay) if config.images is None else config.images
        return cls(config.start, end, config.shape, images, config.delay)

    def at(self, images: int) -> float:
        """The value once ``images`` real images were shown."""
        if self.shape == "constant" or images <= self.delay:
            return self.start
        share = min(1.0, (images - self.delay) / self.images)
        if self.shape == "exponential":
            return self.start * math.pow(self.end / self.start, share)
        factor = 1 - share if self.shape == "linear" else (1 + math.cos(math.pi * share)) / 2
        return self.end + (self.start - self.end) * factor


@dataclass(frozen=True)
class Schedules:
    """Every schedule of a recipe, each with the place that its value goes to.

    Attributes:
        setters: Each takes the number of real images shown, and sets one value.
    """

    setters: tuple[Callable[[int], None], ...]

    @classmethod
    def build(
        cls,
        recipe: Recipe,
        objective: Objective,
        optimizers: Mapping[str, RoleOptimizer],
        ema: Ema | None,
        total: int,
        device: torch.device,
    ) -> Schedules:
        """Connect a recipe's schedules with what they change.

        Scheduled options of regularizers and augmentations become buffers here, so call it before an engine prepares
        any phase.

        Args:
            recipe: A validated recipe.
            objective: Built from it.
            optimizers: Likewise, by role.
            ema: The moving average, if there is one.
            total: Real images in the whole training.
            device: Where the objective is.

        Raises:
            GanzooError: A module keeps no number under the name of a scheduled option.
        """
        setters: list[Callable[[int], None]] = []
        for role, optimizer in optimizers.items():
            config = recipe.optimizers.get(role) or recipe.optimizers["default"]
            setters += _optimizer(optimizer, config.options, total)
        if recipe.regularizers or recipe.augmentation:
            assert isinstance(objective, AdversarialGame), "no other objective takes them"
            modules = [*objective.regularizers, objective.augmentation]
            for module, component in zip(modules, [*recipe.regularizers, recipe.augmentation], strict=True):
                if module is not None and component is not None:
                    for name, schedule in component.schedules().items():
                        setters.append(_buffer(module, component.name, name, Schedule.of(schedule, total), device))
        if ema is not None and isinstance(recipe.train.ema, ScheduleConfig):
            setters.append(_ema(ema, Schedule.of(recipe.train.ema, total)))
        return cls(tuple(setters))

    def apply(self, images: int) -> None:
        """Set every scheduled value for the step that follows after ``images`` real images."""
        for setter in self.setters:
            setter(images)


def _optimizer(optimizer: RoleOptimizer, options: Mapping[str, object], total: int) -> list[Callable[[int], None]]:
    setters: list[Callable[[int], None]] = []
    lr, decay, betas = options["lr"], options.get("decay", "constant"), options.get("betas")
    if isinstance(lr, float | int) and decay in ("linear", "cosine"):
        lr = ScheduleConfig(start=lr, end=0.0, shape=decay)
    if isinstance(lr, ScheduleConfig):
        rate = Schedule.of(lr, total)
        setters.append(lambda images: optimizer.set_lr(rate.at(images)))
    if isinstance(betas, Sequence) and any(isinstance(beta, ScheduleConfig) for beta in betas):
        each = [Schedule.of(b if isinstance(b, ScheduleConfig) else _constant(b), total) for b in betas]
        setters.append(lambda images: optimizer.set_betas([schedule.at(images) for schedule in each]))
    return setters


def _constant(value: float) -> ScheduleConfig:
    return ScheduleConfig(start=value, shape="constant")


def _buffer(
    module: nn.Module, label: str, name: str, schedule: Schedule, device: torch.device
) -> Callable[[int], None]:
    """Keep a number of a module as a buffer, which captured steps read, and set it in place."""
    value = vars(module).get(name, getattr(module, name, None))
    if name in vars(module) and isinstance(value, float | int):
        delattr(module, name)
        # Not persistent: it follows from the images shown, so that no checkpoint needs it.
        module.register_buffer(name, torch.tensor(float(value), device=device), persistent=False)
    elif not isinstance(value, Tensor) or value.dim() != 0:
        raise GanzooError(
            f"'{label}' cannot schedule {name}: it keeps no number of that name.",
            f"Set self.{name} in its constructor, and read it from there.",
        )

    def setter(images: int) -> None:
        buffer: Tensor = getattr(module, name)
        buffer.fill_(schedule.at(images))

    return setter


def _ema(ema: Ema, schedule: Schedule) -> Callable[[int], None]:
    def setter(images: int) -> None:
        ema.decay = schedule.at(images)

    return setter
