"""Installed entry points, and which of them the environment allows.
Of other packages', only those in ``GANZOO_PLUGINS``, if set; none with ``GANZOO_DISABLE_EXTERNAL_PLUGINS=1``.
"""

from __future__ import annotations

import os
import re
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from ganzoo.errors import GanzooError, nearest, one_line

OURS = "ganzoo-bench"
PLUGINS, COMMANDS = "ganzoo", "ganzoo.commands"


def installed(group: str = PLUGINS) -> list[EntryPoint]:
    """The installed entry points of a group, ours first, then others by package and name."""
    try:
        return sorted(
            entry_points(group=group),
            key=lambda point: (distribution_name(point) != OURS, distribution_name(point), point.name),
        )
    except Exception as error:  # of any type, and without the package's name
        raise GanzooError(
            f"The metadata of an installed package is damaged ({type(error).__name__}: {error}).",
            "`pip check` may name it; reinstall it.",
        ) from error


def allowed(group: str = PLUGINS) -> list[EntryPoint]:
    """Our own entry points of a group, and those of others that the environment allows."""
    requested = _requested()
    return [
        point
        for point in installed(group)
        if requested is None or distribution_name(point) == OURS or _names(point) & requested
    ]


def refuse_unknown_names() -> None:
    """Refuse a ``GANZOO_PLUGINS`` that names something that is not installed."""
    known = {name for group in (PLUGINS, COMMANDS) for point in installed(group) for name in _names(point)}
    for word in sorted((_requested() or set()) - known):
        raise GanzooError(
            f"Unknown plugin '{word}'.",
            f"{nearest(word, known, listing='pip list')} GANZOO_PLUGINS names it. Unset it, or correct it.",
        )


def _requested() -> set[str] | None:  # by GANZOO_PLUGINS; None if it is not set
    if os.environ.get("GANZOO_DISABLE_EXTERNAL_PLUGINS", "").lower() not in ("", "0", "false", "no"):
        return set()
    listed = os.environ.get("GANZOO_PLUGINS")
    return None if listed is None else {normal(word) for word in listed.split(",") if word.strip()}


def _names(point: EntryPoint) -> set[str]:
    return {normal(point.name), distribution_name(point)}


def distribution_name(point: EntryPoint) -> str:
    """The package's name in its normal form (PEP 503)."""
    return normal(_name_and_version(point.dist)[0])


def distribution_of(point: EntryPoint) -> str:
    """The package's name and version."""
    return one_line(" ".join(_name_and_version(point.dist)))


@cache
def _name_and_version(distribution: Any) -> tuple[str, str]:  # reading metadata takes a millisecond
    return distribution.name, str(distribution.version)  # a damaged package may lack its version


def normal(name: str) -> str:
    """A package's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
