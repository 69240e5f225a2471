"""Installed plugins: entry points of the group ``ganzoo``, and the packages that provide them.

An entry point names a plugin, or a package whose modules are plugins, each named after its module.

Two environment variables restrict the plugins of other packages. ``GANZOO_PLUGINS`` is a comma-separated list of entry
points, modules or packages, and no others are loaded (an empty value loads none). With
``GANZOO_DISABLE_EXTERNAL_PLUGINS=1``, none at all are loaded.
"""

from __future__ import annotations

import os
import pkgutil
import re
import sys
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, EntryPoint, distributions, entry_points
from typing import Any

from ganzoo.errors import GanzooError, nearest, one_line

OURS = "ganzoo-bench"


def installed() -> list[EntryPoint]:
    """Every plugin that is installed, ours first, then others by package and name."""
    points, _ = read_metadata()
    return sorted(points, key=lambda point: (distribution_name(point) != OURS, distribution_name(point), point.name))


def installed_commands() -> list[EntryPoint]:
    """Every installed command that the environment allows, ours first, then others by package and name."""
    requested = _requested()
    points = [
        point
        for point in entry_points(group="ganzoo.commands")
        if distribution_name(point) == OURS
        or (not _external_are_disabled() and (requested is None or bool(_names(point) & requested)))
    ]
    return sorted(points, key=lambda point: (distribution_name(point) != OURS, distribution_name(point), point.name))


def read_metadata() -> tuple[list[EntryPoint], dict[str, Exception]]:
    """The entry points of the group ``ganzoo``; and the error from reading each package with damaged metadata."""
    with suppress(Exception):  # a single damaged package raises an error, of any type
        return list(entry_points(group="ganzoo")), {}
    points: dict[str, list[EntryPoint]] = {}
    damaged: dict[str, Exception] = {}
    for distribution in distributions():
        try:
            own = [point for point in distribution.entry_points if point.group == "ganzoo"]
        except Exception as error:
            damaged[str(getattr(distribution, "_path", "an installed package"))] = error
        else:  # like entry_points(): if a package is installed twice, the first on the path counts
            points.setdefault(normal(_metadata(distribution, "Name")), own)
    return [point for own in points.values() for point in own], damaged


def allowed() -> list[EntryPoint]:
    """Our own entry points, and those of others that the environment allows, wholly or in part.

    Raises:
        GanzooError: ``GANZOO_PLUGINS`` names a plugin that is not installed.
    """
    points = installed()
    if _external_are_disabled():
        return [point for point in points if distribution_name(point) == OURS]
    requested = _requested()
    if requested is None:
        return points
    pairs = [(point, _names(point) | {normal(plugin_name(one)) for one in modules_of(point)}) for point in points]
    known = {name for _, names in pairs for name in names}
    for word in sorted(requested - known):
        hint = nearest(word, known)
        near = "" if hint.startswith("`") else f"{hint} "  # no command lists them while the variable is set
        raise GanzooError(f"Unknown plugin '{word}'.", f"{near}GANZOO_PLUGINS names it. Unset it, or correct it.")
    return [point for point, names in pairs if distribution_name(point) == OURS or names & requested]


def allowed_module(point: EntryPoint, name: str) -> bool:
    """Whether the environment allows the plugin of this name below an allowed entry point."""
    requested = _requested()
    return requested is None or distribution_name(point) == OURS or bool((_names(point) | {normal(name)}) & requested)


def allowed_below(point: EntryPoint, package: str, folders: Iterable[str]) -> bool:
    """Whether the environment allows any module of a package below an allowed entry point.

    Args:
        point: The entry point.
        package: The package's dotted name; it is not imported.
        folders: The folders of its parent package.
    """
    modules = _below(package, _locations(PathFinder.find_spec(package, list(folders))))
    return any(allowed_module(point, plugin_name(module)) for module in modules)


def ineffective_plugin_names(
    points: Iterable[EntryPoint], found: Iterable[str], broken: Collection[str]
) -> Iterator[tuple[str, EntryPoint]]:
    """The modules that ``GANZOO_PLUGINS`` names without effect, because they are not separate plugins.

    Args:
        points: What ``allowed`` returned.
        found: Names of the plugins found through them.
        broken: Dotted names of modules and packages that could not be imported; what is below them is unknown.

    Yields:
        Each name, and the entry point that the module belongs to.
    """
    requested = _requested()
    if requested is None or _external_are_disabled():
        return
    names = {normal(name) for name in found}
    for point in points:
        if distribution_name(point) != OURS and not _names(point) & requested:
            unknown_below = tuple(f"{one}." for one in broken)
            known = {normal(plugin_name(one)) for one in modules_of(point) if not f"{one}.".startswith(unknown_below)}
            for word in sorted(known & requested - names):
                yield word, point


def _external_are_disabled() -> bool:
    return os.environ.get("GANZOO_DISABLE_EXTERNAL_PLUGINS", "").lower() not in ("", "0", "false", "no")


def _requested() -> set[str] | None:
    listed = os.environ.get("GANZOO_PLUGINS")
    return None if listed is None else {normal(word) for word in listed.split(",") if word.strip()}


def _names(point: EntryPoint) -> set[str]:
    return {normal(point.name), distribution_name(point)}


def modules_of(point: EntryPoint) -> list[str]:
    """Dotted names of the modules below the package that an entry point names; none of them is imported.

    Which of them are plugins is only known once they are imported.
    """
    # The entry point may be malformed, and an import finder may be third-party code.
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
    """The name of the plugin in a module: ``wgan-gp`` in ``some_package.losses.wgan_gp``."""
    return module.rpartition(".")[2].replace("_", "-")


def _below(package: str, folders: list[str]) -> Iterator[str]:
    for name, is_package in children(package, folders):
        yield name
        if is_package:
            yield from _below(name, _locations(PathFinder.find_spec(name, folders)))


def _folders(package: str) -> list[str]:
    """The folders of a package, found without importing it or its parents; empty if it is not a package."""
    parent = package.rpartition(".")[0]
    path = _folders(parent) if parent else None
    specs = (finder.find_spec(package, path) for finder in sys.meta_path)
    return _locations(next((spec for spec in specs if spec is not None), None))


def _locations(spec: ModuleSpec | None) -> list[str]:
    return list(spec.submodule_search_locations or ()) if spec else []


def is_malformed(point: EntryPoint) -> bool:
    """Whether an entry point's value is neither ``package.module`` nor ``package.module:attribute``."""
    return EntryPoint.pattern.match(point.value) is None


def distribution_name(point: EntryPoint) -> str:
    """The package's name in its normal form (PEP 503)."""
    return normal(_metadata(point.dist, "Name"))


def distribution_of(point: EntryPoint) -> str:
    """The package's name and version."""
    return f"{_metadata(point.dist, 'Name')} {_metadata(point.dist, 'Version')}"


def _metadata(distribution: Distribution | None, key: str) -> str:
    """A field of the package's metadata, which may be damaged."""
    try:
        metadata: Any = {} if distribution is None else distribution.metadata
        value = metadata.get(key)
    except (OSError, ValueError):  # missing, in newer versions of Python, or not UTF-8
        value = None
    return "unknown" if value is None else one_line(str(value))


def normal(name: str) -> str:
    """A package's name in its normal form (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
