"""Dotted overrides of a recipe: ``--set train.images=1000``."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo.api.priors import GaussianPrior, Prior
from ganzoo.errors import GanzooError, nearest
from ganzoo.recipes.schema import OptimizerConfig
from ganzoo.registry import strict_yaml
from ganzoo.registry.validation import Path, models_in

COMPONENTS = ("dataset", "networks", "loss", "regularizers", "augmentation", "trackers")
"""Sections that name something registered."""

BUILT_IN = {
    section: {model.model_fields["name"].default: model.model_fields for model in models_in(choices)}
    for section, choices in (("prior", Prior), ("optimizers", OptimizerConfig))
}
"""Sections that name something of ganzoo's own, with the keys that each name knows."""


@dataclass(frozen=True)
class Override:
    """One ``a.b=c``.

    Attributes:
        text: As it was given.
        path: Keys and list indices, as text.
        value: What to put there.
    """

    text: str
    path: tuple[str, ...]
    value: Any

    @classmethod
    def parse(cls, text: str) -> Override:
        """Read one.

        Raises:
            GanzooError: It is not of the form ``a.b=c``, or c is no YAML.
        """
        dotted, equals, value = text.partition("=")
        path = tuple(key.strip() for key in dotted.split("."))
        if not equals or not all(path):
            raise GanzooError(f"--set {text} is not of the form a.b=c.", "For example: --set train.images=100000.")
        if len(path) > strict_yaml.MAX_DEPTH:
            raise GanzooError(f"--set {text[:60]}... leads through {len(path)} levels, more than any recipe has.")
        return cls(text, path, strict_yaml.parse(value, f"--set {text}"))

    def concerns(self, place: Path) -> bool:
        """Whether a mistake there may come from it: one of the two lies within the other."""
        shared = min(len(place), len(self.path))
        return shared > 0 and tuple(map(str, place[:shared])) == self.path[:shared]


def apply(data: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A recipe's mapping with overrides applied in their order.

    Another name drops the old component's options, except those that another override set.

    Raises:
        GanzooError: A path leads nowhere.
    """
    data = copy.deepcopy(data)
    for index, override in enumerate(overrides):
        _set(data, override, overrides[:index])
    return data


def _set(data: dict[str, Any], override: Override, earlier: Iterable[Override]) -> None:
    *parents, last = override.path
    inner: Any = data
    for depth, key in enumerate(parents):
        inner = _enter(inner, override, override.path[: depth + 1], key)
    if isinstance(inner, list):
        inner[_index(inner, override, last)] = override.value
        return
    if last == "name" and parents and inner.get("name") != override.value:
        wanted = {other.path[len(parents)] for other in earlier if _below(other, parents)}
        for option in inner.keys() - wanted:
            if option not in _kept(override):
                del inner[option]
    inner[last] = override.value


def _below(override: Override, parents: Sequence[str]) -> bool:
    depth = len(parents)
    return len(override.path) > depth and list(override.path[:depth]) == parents


def _kept(override: Override) -> Container[str]:
    """The keys that mean the same whatever the name."""
    section = override.path[0]
    if section in BUILT_IN and isinstance(override.value, str):
        return BUILT_IN[section].get(override.value, ())
    return ("spectral_norm",) if section == "networks" else ()


def _enter(inner: Any, override: Override, path: tuple[str, ...], key: str) -> Any:
    """The mapping or list below ``key``, made where there is none."""
    at: Any = _index(inner, override, key) if isinstance(inner, list) else key
    if isinstance(inner, dict) and key not in inner:
        inner[key] = _new(inner, override, path)
    value = inner[at]
    if value is None:
        value = inner[at] = {}
    elif isinstance(value, str) and path[0] in COMPONENTS:
        value = inner[at] = {"name": value}
    if not isinstance(value, (dict, list)):
        raise GanzooError(f"--set {override.text}: {'.'.join(path)} is a single value with nothing below it.")
    return value


def _new(inner: dict[str, Any], override: Override, path: tuple[str, ...]) -> dict[str, Any]:
    """What an override finds below a key that the recipe does not have."""
    *parents, key = path
    if parents == ["networks"]:
        raise GanzooError(f"--set {override.text}: networks has no key '{key}'.", nearest(key, inner))
    if parents == ["optimizers"]:
        # A role of its own begins as what served it so far.
        return copy.deepcopy(inner.get("default", {}))
    return {"name": GaussianPrior().name} if path == ("prior",) else {}


def _index(inner: list[Any], override: Override, key: str) -> int:
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(inner):
        held = f"a list of {len(inner)}" if inner else "an empty list"
        raise GanzooError(f"--set {override.text}: '{key}' is no index of {held}.", "Indices are counted from 0.")
    return int(key)
