"""Dotted overrides of a recipe: ``--set train.images=1000``."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ganzoo import strict_yaml
from ganzoo.complaints import Path
from ganzoo.errors import GanzooError, nearest

COMPONENT_SECTIONS = ("dataset", "networks", "loss", "regularizers", "augmentation", "trackers")


@dataclass(frozen=True)
class Override:
    """One ``a.b=c``.

    Attributes:
        text: As it was given.
        path: Keys and list indices.
        value: What to put there.
    """

    text: str
    path: Path
    value: Any

    @classmethod
    def parse(cls, text: str) -> Override:
        """Read one.

        Raises:
            GanzooError: It is not of the form ``a.b=c``, or c is no YAML.
        """
        dotted, equals, value = text.partition("=")
        keys = [key.strip() for key in dotted.split(".")]
        if not equals or not all(keys):
            raise GanzooError(f"--set {text} is not of the form a.b=c.", "For example: --set train.images=100000.")
        path = tuple(int(key) if key.isdecimal() else key for key in keys)
        return cls(text, path, strict_yaml.parse(value, f"--set {text}"))

    @property
    def renames(self) -> bool:
        """Whether it changes which component stands there."""
        return self.path[-1] == "name"

    def concerns(self, path: Path) -> bool:
        """Whether a mistake at ``path`` may come from it."""
        shared = min(len(path), len(self.path))
        return shared > 0 and path[:shared] == self.path[:shared]


def apply(data: dict[str, Any], overrides: Sequence[Override]) -> dict[str, Any]:
    """A recipe's mapping with overrides applied; names first, since a new component drops its predecessor's options.

    Raises:
        GanzooError: A path leads nowhere.
    """
    data = copy.deepcopy(data)
    for override in sorted(overrides, key=lambda override: not override.renames):
        _set(data, override)
    return data


def _set(data: dict[str, Any], override: Override) -> None:
    *parents, last = override.path
    inner: Any = data
    for depth, key in enumerate(parents):
        inner = _enter(inner, override, depth, key)
    if isinstance(inner, list):
        inner[_index(inner, override, last)] = override.value
        return
    if override.renames and inner.get("name") != override.value and override.path[0] in COMPONENT_SECTIONS:
        inner.clear()
    inner[last] = override.value


def _enter(inner: Any, override: Override, depth: int, key: str | int) -> Any:
    """The mapping or list below ``key``, made where there is none."""
    path = override.path[: depth + 1]
    if isinstance(inner, list):
        key = _index(inner, override, key)
    elif key not in inner:
        inner[key] = _new(inner, override, path)
    value = inner[key]
    if value is None:
        value = inner[key] = {}
    elif isinstance(value, str) and path[0] in COMPONENT_SECTIONS:
        value = inner[key] = {"name": value}
    if not isinstance(value, (dict, list)):
        where = ".".join(map(str, path))
        raise GanzooError(f"--set {override.text}: {where} is a single value with nothing below it.")
    return value


def _new(inner: dict[str, Any], override: Override, path: Path) -> dict[str, Any]:
    """What an override finds below a key that the recipe does not have."""
    if path[:-1] == ("networks",):
        raise GanzooError(f"--set {override.text}: networks has no key '{path[-1]}'.", nearest(str(path[-1]), inner))
    if path[:-1] == ("optimizers",):
        # A role of its own begins as what served it so far.
        return copy.deepcopy(inner.get("default", {}))
    return {}


def _index(inner: list[Any], override: Override, key: str | int) -> int:
    if not isinstance(key, int) or key >= len(inner):
        held = f"a list of {len(inner)}" if inner else "an empty list"
        raise GanzooError(f"--set {override.text}: '{key}' is no index of {held}.", "Indices are counted from 0.")
    return key
