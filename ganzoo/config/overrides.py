"""Dotted overrides of a recipe: ``--set train.images=1000``."""

from __future__ import annotations

import copy
from collections.abc import Container, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ganzoo.config.optimizers import canonical, optimizer_options
from ganzoo.errors import GanzooError, nearest
from ganzoo.registry import strict_yaml
from ganzoo.registry.loading import Zoo
from ganzoo.registry.validation import Path

COMPONENTS = ("dataset", "prior", "networks", "loss", "regularizers", "augmentation", "optimizers", "trackers")
"""Sections that name something."""


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
            GanzooError: It does not have the form ``a.b=c``, or c is not YAML.
        """
        dotted, equals, value = text.partition("=")
        path = tuple(key.strip() for key in dotted.split("."))
        if not equals or not all(path):
            raise GanzooError(f"--set {text} must have the form a.b=c.", "For example: --set train.images=100000.")
        if len(path) > strict_yaml.MAX_DEPTH:
            raise GanzooError(f"--set {text[:60]}... is {len(path)} levels deep, more than any recipe.")
        return cls(text, path, strict_yaml.parse(value, f"--set {text}"))

    def concerns(self, place: Path) -> bool:
        """Whether a mistake at ``place`` may come from it: one of the two paths begins with the other."""
        shared = min(len(place), len(self.path))
        return shared > 0 and tuple(map(str, place[:shared])) == self.path[:shared]


def apply(data: dict[str, Any], overrides: Sequence[Override], zoo: Zoo) -> dict[str, Any]:
    """A recipe's mapping with overrides applied in their order.

    Another name drops the old component's options, except those that another override set. A new prior or optimizer
    keeps the options that it has too.

    Raises:
        GanzooError: A path leads through something that has nothing below it.
    """
    data = copy.deepcopy(data)
    for index, override in enumerate(overrides):
        _set(data, override, overrides[:index], zoo)
    return data


def _set(data: dict[str, Any], override: Override, earlier: Iterable[Override], zoo: Zoo) -> None:
    *parents, last = override.path
    inner: Any = data
    for depth, key in enumerate(parents):
        inner = _enter(inner, override, override.path[: depth + 1], key)
    if isinstance(inner, list):
        inner[_index(inner, override, last)] = override.value
        return
    if last == "name" and parents and inner.get("name") != override.value:
        wanted = {other.path[len(parents)] for other in earlier if _below(other, parents)}
        kept = _kept(override, zoo)
        for option in inner.keys() - wanted:
            if option not in kept:
                del inner[option]
    inner[last] = override.value


def _below(override: Override, parents: Sequence[str]) -> bool:
    depth = len(parents)
    return len(override.path) > depth and list(override.path[:depth]) == parents


def _kept(override: Override, zoo: Zoo) -> Container[str]:
    """The keys that mean the same under the new name."""
    section, name = override.path[0], override.value
    if section == "prior" and name in zoo.priors:
        return zoo.priors.get(name).options.types
    if section == "optimizers" and isinstance(name, str):
        with suppress(GanzooError):  # an unknown name is refused later, with its place
            return optimizer_options(canonical(name)).types
    return ("spectral_norm",) if section == "networks" else ()


def _enter(inner: Any, override: Override, path: tuple[str, ...], key: str) -> Any:
    """The mapping or list below ``key``, created if missing."""
    at: Any = _index(inner, override, key) if isinstance(inner, list) else key
    if isinstance(inner, dict) and key not in inner:
        inner[key] = _new(inner, override, path)
    value = inner[at]
    if value is None:
        value = inner[at] = {}
    elif isinstance(value, str) and path[0] in COMPONENTS:
        value = inner[at] = {"name": value}
    if not isinstance(value, (dict, list)):
        raise GanzooError(f"--set {override.text}: {'.'.join(path)} is a single value, so it has no keys.")
    return value


def _new(inner: dict[str, Any], override: Override, path: tuple[str, ...]) -> dict[str, Any]:
    """What an override starts from below a key that the recipe lacks."""
    *parents, key = path
    if parents == ["networks"]:
        raise GanzooError(f"--set {override.text}: networks has no key '{key}'.", nearest(key, inner))
    if parents == ["optimizers"]:
        # A role without settings of its own starts from those it had so far.
        return copy.deepcopy(inner.get("default", {}))
    return {"name": "gaussian"} if path == ("prior",) else {}


def _index(inner: list[Any], override: Override, key: str) -> int:
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(inner):
        held = f"a list of {len(inner)}" if inner else "an empty list"
        raise GanzooError(f"--set {override.text}: '{key}' is not an index of {held}.", "Indices start at 0.")
    return int(key)
