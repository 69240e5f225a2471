"""Installed plugins: entry points of the group ``ganzoo``, and the packages that brought them.

An entry point names a plugin, or a package whose modules are plugins, each called after its module.

Two environment variables concern those of other packages: ``GANZOO_PLUGINS``, names of entry points, modules or
packages separated by commas, loads no others (an empty value loads none), and
``GANZOO_DISABLE_EXTERNAL_PLUGINS=1`` loads none at all.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
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
        return sorted(
            entry_points(group="ganzoo"),
            key=lambda point: (distribution_name(point) != OURS, distribution_name(point), point.name),
        )
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
    """Ours, and those of the others that the environment allows, wholly or in part.

    Raises:
        GanzooError: ``GANZOO_PLUGINS`` names a plugin that is not installed.
    """
    points = installed()
    external = [point for point in points if distribution_name(point) != OURS]
    if os.environ.get("GANZOO_DISABLE_EXTERNAL_PLUGINS", "").lower() not in ("", "0", "false", "no"):
        return [point for point in points if point not in external]
    wanted = _wanted()
    if wanted is None:
        return points
    pairs = [(point, _names(point) | {plugin_name(module) for module in modules_of(point)}) for point in points]
    known = {name for _, names in pairs for name in names}
    for word in sorted(wanted - known):
        raise unknown("plugin", word, known, "GANZOO_PLUGINS names it.", listing="ganzoo plugins")
    return [point for point, names in pairs if point not in external or names & wanted]


def allowed_module(point: EntryPoint, name: str) -> bool:
    """Whether the environment allows the plugin of this name, which an allowed entry point leads to."""
    wanted = _wanted()
    return wanted is None or distribution_name(point) == OURS or bool((_names(point) | {normal(name)}) & wanted)


def _wanted() -> set[str] | None:
    listed = os.environ.get("GANZOO_PLUGINS")
    return None if listed is None else {normal(word) for word in listed.split(",") if word.strip()}


def _names(point: EntryPoint) -> set[str]:
    return {normal(point.name), distribution_name(point)}


def modules_of(point: EntryPoint) -> list[str]:
    """Dotted names of the modules below the package that an entry point names; none of them is imported.

    Which of them are plugins is only known once they are imported.
    """
    # The entry point may be malformed, and what finds modules may be anybody's code.
    with suppress(Exception):
        if not point.attr:
            return list(_below(point.module, _folders(point.module)))
    return []


def children(package: str, folders: Iterable[str]) -> Iterator[tuple[str, bool]]:
    """Dotted names of the modules in a package, without those that start with ``_``, and whether each is a package."""
    for info in pkgutil.iter_modules(folders, f"{package}."):
        if not info.name.rpartition(".")[2].startswith("_"):
            yield info.name, info.ispkg


def plugin_name(module: str) -> str:
    """What the plugin in a module is called: ``wgan-gp`` in ``some_package.losses.wgan_gp``."""
    return module.rpartition(".")[2].replace("_", "-")


def _below(package: str, folders: list[str]) -> Iterator[str]:
    for name, is_package in children(package, folders):
        yield name
        if is_package:
            yield from _below(name, _locations(PathFinder.find_spec(name, folders)))


def _folders(package: str) -> list[str]:
    """The folders of a package, found without importing it or its parents; empty where it is none."""
    parent = package.rpartition(".")[0]
    path = _folders(parent) if parent else None
    specs = (finder.find_spec(package, path) for finder in sys.meta_path)
    return _locations(next((spec for spec in specs if spec is not None), None))


def _locations(spec: ModuleSpec | None) -> list[str]:
    return list(spec.submodule_search_locations or ()) if spec else []


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
