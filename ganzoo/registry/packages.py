"""Installed plugins: entry points of the group ``ganzoo``, and the packages that brought them.

Two environment variables concern those of other packages: ``GANZOO_PLUGINS``, names of entry points or
packages separated by commas, loads no others (an empty value loads none), and
``GANZOO_DISABLE_EXTERNAL_PLUGINS=1`` loads none at all.
"""

from __future__ import annotations

import os
import re
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Any

from ganzoo.errors import GanzooError, one_line, unknown

OURS = "ganzoo-bench"


def installed() -> list[EntryPoint]:
    """Every plugin that is installed, ours first, then others by package and name.

    Raises:
        GanzooError: The metadata of some package cannot be read.
    """
    try:
        return sorted(entry_points(group="ganzoo"), key=_order)
    except (OSError, ValueError, TypeError) as error:
        culprit = _damaged()
        raise GanzooError(
            f"The metadata of {culprit or 'an installed package'} is damaged ({type(error).__name__}: {error}).",
            "Reinstall it, or remove it.",
        ) from error


def _damaged() -> str:
    """The packages whose entry points cannot be read."""
    found = []
    for distribution in distributions():
        try:
            _ = list(distribution.entry_points)
        except (OSError, ValueError, TypeError):
            found.append(str(getattr(distribution, "_path", "an installed package")))
    return ", ".join(found)


def allowed() -> list[EntryPoint]:
    """Ours, and those of the others that the environment allows.

    Raises:
        GanzooError: ``GANZOO_PLUGINS`` names a plugin that is not installed.
    """
    points = installed()
    external = [point for point in points if distribution_name(point) != OURS]
    if os.environ.get("GANZOO_DISABLE_EXTERNAL_PLUGINS", "").lower() not in ("", "0", "false", "no"):
        return [point for point in points if point not in external]
    listed = os.environ.get("GANZOO_PLUGINS")
    if listed is None:
        return points
    wanted = {normal(word) for word in listed.split(",") if word.strip()}
    names = {normal(point.name) for point in points} | {distribution_name(point) for point in points}
    for word in sorted(wanted - names):
        raise unknown("plugin", word, names, "GANZOO_PLUGINS names it.")
    return [p for p in points if p not in external or {normal(p.name), distribution_name(p)} & wanted]


def _order(point: EntryPoint) -> tuple[bool, str, str]:
    return distribution_name(point) != OURS, distribution_name(point), point.name


def distribution_name(point: EntryPoint) -> str:
    """The package's name in its normal form (PEP 503)."""
    return normal(_metadata(point, "Name"))


def distribution_of(point: EntryPoint) -> str:
    """The package's name and version."""
    return f"{_metadata(point, 'Name')} {_metadata(point, 'Version')}"


def _metadata(point: EntryPoint, key: str) -> str:
    """A field of the package's metadata, which may be damaged."""
    try:
        metadata: Any = {} if point.dist is None else point.dist.metadata
        found = metadata.get(key)
    except (OSError, ValueError):  # missing in newer versions of Python, or no UTF-8
        found = None
    return "unknown" if found is None else one_line(str(found))


def normal(name: str) -> str:
    """A package's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
