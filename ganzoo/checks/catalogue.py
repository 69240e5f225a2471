"""Which check applies to which kind, and a plugin's checks in order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ganzoo.checks import data_checks as surroundings
from ganzoo.checks import entries, importing, isolation, losses, networks, recipes
from ganzoo.checks.toys import seed
from ganzoo.checks.verdict import Broken
from ganzoo.errors import GanzooError, nearest
from ganzoo.registry.global_state import kept
from ganzoo.registry.loading import PluginInfo, Problem, Zoo
from ganzoo.registry.registry import KINDS, NETWORK_KINDS, Entry

EntryCheck = Callable[[Entry[Any], Zoo], object]


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        name: Short, as in ``ganzoo check --json`` and pytest's test names.
        kinds: What it applies to.
        holds: Raises where it does not hold.
    """

    name: str
    kinds: tuple[str, ...]
    holds: EntryCheck


@dataclass(frozen=True)
class Case:
    """One check of one thing.

    Attributes:
        plugin: The plugin it belongs to.
        thing: ``loss-hinge``, or ``plugin-NAME`` for what concerns the whole.
        check: The check's name.
        attempt: Raises where it does not hold.
    """

    plugin: str
    thing: str
    check: str
    attempt: Callable[[], object]

    def run(self) -> None:
        """Seeded, and leaving the process as it was.

        Raises:
            Broken: It does not hold.
        """
        with kept(), torch.random.fork_rng(devices=[]):
            seed(0)
            try:
                self.attempt()
            except Broken:
                raise
            except GanzooError as error:
                raise Broken(error.sentence, error.remedy) from error


def _alone(function: Callable[[Entry[Any]], None]) -> EntryCheck:
    return lambda entry, zoo: function(entry)


def _at_sizes(function: Callable[..., Any]) -> EntryCheck:
    def at_sizes(entry: Entry[Any], zoo: Zoo) -> None:
        for shape in networks.SHAPES:
            function(entry, shape=shape) if entry.kind in NETWORK_KINDS else function(entry, zoo, shape=shape)

    return at_sizes


EVERYTHING = tuple(KINDS)
PARTS = ("loss", "regularizer", "augmentation")
CHECKS: tuple[Check, ...] = (
    Check("summary", EVERYTHING, _alone(entries.summary)),
    Check("paper", entries.METHODS, _alone(entries.paper)),
    Check("docstring", tuple(kind for kind in KINDS if kind != "recipe"), _alone(entries.docstring)),
    Check("options-documented", EVERYTHING, _alone(entries.options_documented)),
    Check("options-unknown", EVERYTHING, _alone(entries.unknown_option)),
    Check("options-defaults", EVERYTHING, _alone(entries.defaults)),
    Check("options-types", EVERYTHING, _alone(entries.types)),
    Check("shape", NETWORK_KINDS, _at_sizes(networks.output)),
    Check("gradients", NETWORK_KINDS, _at_sizes(networks.gradients)),
    Check("input-gradients", NETWORK_KINDS, _alone(networks.input_gradients)),
    Check("labels", NETWORK_KINDS, _alone(networks.labels)),
    Check("capturable", NETWORK_KINDS, _alone(networks.capturable)),
    Check("checkpointable", NETWORK_KINDS, _alone(networks.round_trip)),
    Check("deterministic", NETWORK_KINDS, _alone(networks.deterministic)),
    Check("half-precision", NETWORK_KINDS, _alone(networks.half_precision)),
    Check("shared-features", ("discriminator",), _alone(networks.shared_features)),
    Check("per-image", ("discriminator",), _alone(networks.per_image)),
    Check("finite", ("loss",), _alone(losses.finite)),
    Check("directions", ("loss",), _alone(losses.directions)),
    Check("batch-size", ("loss",), _alone(losses.batch_size)),
    Check("tried", ("loss",), losses.tried),
    Check("finite", ("regularizer",), _alone(losses.penalty)),
    Check("weight", ("regularizer",), _alone(losses.weight)),
    Check("lazy", ("regularizer",), _alone(losses.lazy)),
    Check("shape", ("augmentation",), _alone(losses.augmented)),
    Check("capturable", PARTS, _alone(losses.capturable)),
    Check("checkpointable", PARTS, _alone(losses.round_trip)),
    Check("deterministic", PARTS, _alone(losses.deterministic)),
    Check("readable", ("recipe",), recipes.loaded),
    Check("capturable", ("recipe",), _at_sizes(recipes.capturable)),
    Check("gradients", ("recipe",), recipes.gradients),
    Check("roles", ("recipe",), recipes.roles),
    Check("half-precision", ("recipe",), recipes.half_precision),
    Check("checkpointable", ("recipe",), recipes.round_trip),
    Check("deterministic", ("recipe",), recipes.deterministic),
    Check("signature", tuple(surroundings.SUPPLIED), _alone(surroundings.signature)),
    Check("without-files", ("dataset",), _alone(surroundings.without_files)),
    Check("features", ("extractor",), _alone(surroundings.extractor)),
    Check("global-state", tuple(isolation.EXERCISES), isolation.global_state),
)


def cases(name: str, zoo: Zoo) -> list[Case]:
    """Every check of a plugin, or of all plugins of a distribution.

    Args:
        name: As ``ganzoo plugins`` shows it: a plugin or a distribution.
        zoo: Everything that was loaded.

    Raises:
        GanzooError: There is no such plugin.
    """
    loaded = [plugin for plugin in zoo.plugins if name in (plugin.name, _bare(plugin.distribution))]
    refused = [problem for problem in zoo.problems if name in (problem.plugin, _bare(problem.distribution))]
    if not loaded and not refused:
        known = {plugin.name for plugin in zoo.plugins} | {problem.plugin for problem in zoo.problems}
        raise GanzooError(f"Unknown plugin '{name}'.", f"{nearest(name, known)} See `ganzoo plugins`.")
    found = [Case(p.plugin, f"plugin-{p.plugin}", "loads", partial(_refuse, p)) for p in refused]
    for plugin in loaded:
        found += _of_plugin(plugin, zoo)
    return found


def _bare(distribution: str) -> str:
    return distribution.rpartition(" ")[0]


def _refuse(problem: Problem) -> None:
    raise Broken(problem.sentence, "Nothing of it can be used until then.")


def _of_plugin(plugin: PluginInfo, zoo: Zoo) -> Iterator[Case]:
    whole = f"plugin-{plugin.name}"
    yield Case(plugin.name, whole, "registers", partial(_registers, plugin))
    yield Case(plugin.name, whole, "import", partial(_imports, plugin))
    for entry in plugin.registered:
        for check in CHECKS:
            if entry.kind in check.kinds:
                yield Case(plugin.name, f"{entry.kind}-{entry.name}", check.name, partial(check.holds, entry, zoo))


def _registers(plugin: PluginInfo) -> None:
    if not plugin.registered:
        raise Broken(f"The plugin '{plugin.name}' registers nothing.", "Call register(...) in each of its hooks.")


def _imports(plugin: PluginInfo) -> None:
    for sentence, remedy in importing.examined([plugin])[plugin.name]:
        raise Broken(sentence, remedy)
