"""Optimizers of a recipe: any class of ``torch.optim`` that steps without a closure, with its own options."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, get_args, get_type_hints

import torch
from pydantic import Field

from ganzoo.errors import GanzooError, unknown
from ganzoo.registry.options import Options

NOT_OPTIONS = ("params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize")
"""Parameters of torch's constructors that ganzoo sets itself; ``lr`` is one that every recipe must give."""

SCHEDULED = ("lr", "betas")
"""Options that may change during training."""

REFUSED: Mapping[str, str] = {
    "lbfgs": "it evaluates the loss several times in each step",
    "sparseadam": "it takes sparse gradients only",
}

Share = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1e38)]  # beyond that, single precision overflows
OWN = ("decay", "lazy_scaling")
"""Options of ganzoo's, which torch's classes do not know."""
BOUNDS: Mapping[str, Any] = {
    "alpha": Share,
    "beta2_decay": Annotated[float, Field(ge=-10, le=0)],
    "betas": tuple[Share, Share],
    "d": Annotated[float, Field(gt=0, le=1e6)],
    "dampening": Annotated[float, Field(ge=0, le=1)],
    "initial_accumulator_value": Annotated[float, Field(ge=0, le=1e6)],
    "momentum": Share,
    "ns_steps": Annotated[int, Field(ge=1, le=99)],
    "rho": Share,
    "weight_decay": Annotated[float, Field(ge=0, le=1e6)],
}
"""What well-known options may be, where torch's annotations do not say."""
ANY_NUMBER = Annotated[float, Field(ge=-1e12, le=1e12)]
NOT_NEGATIVE = Annotated[float, Field(ge=0, le=1e12)]


@cache
def known() -> Mapping[str, type[torch.optim.Optimizer]]:
    """Every optimizer that a recipe may name, by its name in lower case."""
    found = {}
    for name, kind in vars(torch.optim).items():
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer:
            step = inspect.signature(kind.step).parameters
            needs_closure = "closure" in step and step["closure"].default is inspect.Parameter.empty
            if not needs_closure and name.lower() not in REFUSED:
                found[name.lower()] = kind
    return found


def canonical(name: str) -> str:
    """An optimizer's name as resolved recipes write it: ``adamw`` for ``AdamW`` and ``adam-w``.

    Raises:
        GanzooError: torch has no such optimizer, or it does not work with phases.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in REFUSED:
        raise GanzooError(f"The optimizer '{name}' cannot train a GAN here: {REFUSED[plain]}.", "Try 'adam'.")
    if plain not in known():
        raise unknown("optimizer", name, known())
    return plain


@cache
def optimizer_options(name: str) -> Options:
    """What a recipe may set of an optimizer: ``lr``, ``decay``, ``lazy_scaling``, and the options of torch's class.

    Args:
        name: As ``canonical`` gives it.
    """
    kind = known()[name]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("lr", keyword, annotation=LearningRate),
        inspect.Parameter("decay", keyword, default="constant", annotation=Literal["constant", "linear", "cosine"]),
        inspect.Parameter("lazy_scaling", keyword, default=False, annotation=bool),
    ]
    hints = _hints(kind)
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.name not in NOT_OPTIONS:
            annotation = BOUNDS.get(parameter.name) or _type(parameter.default, hints.get(parameter.name))
            parameters.append(parameter.replace(kind=keyword, annotation=annotation))

    def factory(**options: Any) -> None:
        """Stands for torch's class, with annotations that can be checked."""

    factory.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Options(f"optimizer '{name}'", factory)


def check_optimizer(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with defaults filled in.

    Switches that nobody turned on are left out, so that a recipe stays readable by versions of torch that lack them.

    Raises:
        ValidationFailed: An option is unknown, missing, or of the wrong type.
    """
    checked = optimizer_options(name).check(options)
    return {key: value for key, value in checked.items() if value is not False or key in options}


def _hints(kind: type[torch.optim.Optimizer]) -> dict[str, Any]:
    try:
        return get_type_hints(vars(kind)["__init__"])
    except (NameError, TypeError):  # names that torch imports for type checkers only
        return {}


def _type(default: Any, hint: Any) -> Any:
    """A type that a recipe's value can be checked against, from a default and torch's annotation."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int) and hint is int:
        return Annotated[int, Field(ge=0, le=10**9)]
    if isinstance(default, (int, float)):
        return NOT_NEGATIVE if default >= 0 else ANY_NUMBER
    if isinstance(default, (tuple, list)):
        items = [NOT_NEGATIVE | None if item is None else _type(item, None) for item in default]
        return tuple[tuple(items)]  # type: ignore[misc]
    if isinstance(default, str) or str in get_args(hint):
        return Annotated[str, Field(max_length=100)] | None
    return ANY_NUMBER | None
