"""Which checks apply to which kind, and all checks of a plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from ganzoo.config.checking import SECTIONS
from ganzoo.errors import GanzooError, unknown
from ganzoo.registry.loading import PluginInfo, Problem, Zoo, unused_modules
from ganzoo.registry.packages import normal
from ganzoo.registry.registry import KINDS, NETWORK_KINDS, SUMMARIES, Entry
from ganzoo.reproducibility import preserved_global_state
from ganzoo_checks import data_checks, entries, isolation, losses, networks, recipes
from ganzoo_checks.entries import CheckFailed, caught
from ganzoo_checks.toys import SHAPES, seed

EntryCheck = Callable[[Entry[Any], Zoo], object]
UNFORESEEN = "If the plugin is right, report this as a bug in ganzoo's check."


@dataclass(frozen=True)
class Check:
    """A requirement on some kinds.

    Attributes:
        name: Short; it appears in ``ganzoo check --json`` and in pytest's test names.
        kinds: The kinds it applies to.
        function: Raises an exception if the entry fails.
    """

    name: str
    kinds: tuple[str, ...]
    function: EntryCheck


@dataclass(frozen=True)
class PluginCheck:
    """One check, applied to one entry or to the whole plugin.

    Attributes:
        plugin: The plugin's name.
        thing: What is checked: ``loss-hinge``, or ``plugin-NAME`` for the whole plugin.
        check: The check's name.
        function: Raises an exception if the check fails.
    """

    plugin: str
    thing: str
    check: str
    function: Callable[[], object]

    def run(self) -> None:
        """Run the check from a fixed seed, and leave the process as it was.

        Raises:
            CheckFailed: The check fails.
        """
        kind, _, name = self.thing.partition("-")
        unforeseen = caught(f"The {kind} '{name}' fails in the check '{self.check}'", UNFORESEEN)
        with preserved_global_state(), torch.random.fork_rng(devices=[]), unforeseen:
            seed(0)
            try:
                self.function()
            except CheckFailed:
                raise
            except GanzooError as error:
                raise CheckFailed(error.sentence, error.remedy) from error


def _entry_only(function: Callable[[Entry[Any]], None]) -> EntryCheck:
    return lambda entry, zoo: function(entry)


def _at_sizes(function: Callable[..., Any]) -> EntryCheck:
    def at_sizes(entry: Entry[Any], zoo: Zoo) -> None:
        for shape in SHAPES:
            function(entry, shape=shape) if entry.kind in NETWORK_KINDS else function(entry, zoo, shape=shape)

    return at_sizes


ALL_KINDS = tuple(KINDS)
LOSS_PARTS = ("loss", "regularizer", "augmentation")
CHECKS: tuple[Check, ...] = (
    Check("summary", ALL_KINDS, _entry_only(entries.summary)),
    Check("paper", entries.METHODS, _entry_only(entries.paper)),
    Check("docstring", tuple(kind for kind in KINDS if kind not in SUMMARIES), _entry_only(entries.docstring)),
    Check("options-documented", ALL_KINDS, _entry_only(entries.options_documented)),
    Check("options-keyword-only", tuple(SECTIONS), _entry_only(entries.keyword_only)),
    Check("options-types", ALL_KINDS, _entry_only(entries.types)),
    Check("shape", NETWORK_KINDS, _at_sizes(networks.output_shape)),
    Check("odd-shape", NETWORK_KINDS, _entry_only(networks.odd_shape)),
    Check("gradients", NETWORK_KINDS, _at_sizes(networks.gradients)),
    Check("input-gradients", NETWORK_KINDS, _entry_only(networks.input_gradients)),
    Check("labels", NETWORK_KINDS, _entry_only(networks.labels)),
    Check("capturable", NETWORK_KINDS, _entry_only(networks.capturable)),
    Check("checkpointable", NETWORK_KINDS, _entry_only(networks.round_trip)),
    Check("deterministic", NETWORK_KINDS, _entry_only(networks.deterministic)),
    Check("half-precision", NETWORK_KINDS, _entry_only(networks.half_precision)),
    Check("copyable", ("generator", "encoder"), _entry_only(networks.copyable)),
    Check("shared-features", ("discriminator",), _entry_only(networks.shared_features)),
    Check("per-image", ("discriminator",), _entry_only(networks.per_image)),
    Check("finite", ("loss",), _entry_only(losses.finite)),
    Check("directions", ("loss",), _entry_only(losses.directions)),
    Check("batch-size", ("loss",), _entry_only(losses.batch_size)),
    Check("used-by-a-recipe", ("loss",), losses.used_by_a_recipe),
    Check("finite", ("regularizer",), _entry_only(losses.penalty)),
    Check("batch-size", ("regularizer",), _entry_only(losses.averaged)),
    Check("weight", ("regularizer",), _entry_only(losses.weight)),
    Check("lazy", ("regularizer",), _entry_only(losses.lazy)),
    Check("shape", ("augmentation",), _entry_only(losses.augmentation)),
    Check("capturable", LOSS_PARTS, _entry_only(losses.capturable)),
    Check("checkpointable", LOSS_PARTS, _entry_only(losses.round_trip)),
    Check("deterministic", LOSS_PARTS, _entry_only(losses.deterministic)),
    Check("valid", ("recipe",), recipes.load),
    Check("valid", ("study",), recipes.study),
    Check("valid", ("pretrained",), recipes.pretrained),
    Check("capturable", ("recipe",), _at_sizes(recipes.capturable)),
    Check("gradients", ("recipe",), recipes.gradients),
    Check("roles", ("recipe",), recipes.roles),
    Check("half-precision", ("recipe",), recipes.half_precision),
    Check("checkpointable", ("recipe",), recipes.round_trip),
    Check("deterministic", ("recipe",), recipes.deterministic),
    Check("signature", ("dataset", "extractor", "metric", "tracker"), _entry_only(data_checks.signature)),
    Check("without-files", ("dataset",), _entry_only(data_checks.without_files)),
    Check("features", ("extractor",), _entry_only(data_checks.extractor)),
    Check("direction", ("metric",), _entry_only(data_checks.metric)),
    Check("score", ("metric",), _entry_only(data_checks.score)),
    Check("draws", ("prior",), _entry_only(data_checks.prior)),
    Check("class", ("tracker",), _entry_only(data_checks.tracker)),
    Check("global-state", tuple(isolation.EXERCISES), isolation.global_state),
)

BASIC = ("shape", "finite")
"""If one of these fails, ``ganzoo check`` leaves out the entry's ``STEPS``, which would only repeat it."""
STEPS = ("capturable", "checkpointable", "deterministic")


def plugin_checks(name: str, zoo: Zoo) -> list[PluginCheck]:
    """All checks of a plugin, or of all plugins of a package.

    Args:
        name: A plugin or a package, as ``ganzoo plugins`` shows it; upper case and underscores do not matter (PEP 503).
        zoo: All loaded plugins.

    Raises:
        GanzooError: The name is unknown.
    """
    names = [{normal(plugin.name), _package(plugin.distribution)} for plugin in zoo.plugins]
    failing = [{normal(problem.plugin), _package(problem.distribution)} for problem in zoo.problems]
    loaded = [plugin for plugin, known in zip(zoo.plugins, names, strict=True) if normal(name) in known]
    failed = [problem for problem, known in zip(zoo.problems, failing, strict=True) if normal(name) in known]
    if not loaded and not failed:
        raise unknown("plugin", name, set().union(*names, *failing), listing="ganzoo plugins")
    checks = [PluginCheck(p.plugin, f"plugin-{p.plugin}", "loads", partial(_failed_to_load, p)) for p in failed]
    for plugin in loaded:
        checks += _checks_of(plugin, zoo)
    return checks


def _package(distribution: str) -> str:
    """The normal form of a distribution's name, which may be followed by its version."""
    return normal(distribution.rpartition(" ")[0] or distribution)


def _failed_to_load(problem: Problem) -> None:
    raise CheckFailed(problem.sentence, "ganzoo uses nothing from it until this is fixed.")


def _checks_of(plugin: PluginInfo, zoo: Zoo) -> Iterator[PluginCheck]:
    whole = f"plugin-{plugin.name}"
    yield PluginCheck(plugin.name, whole, "registers", partial(_registers, plugin))
    yield PluginCheck(plugin.name, whole, "import", partial(_imports, plugin))
    for entry in plugin.registered:
        is_invalid = entry.kind == "recipe" and not _loads(entry, zoo)
        for check in CHECKS:
            if entry.kind in check.kinds:
                thing = f"{entry.kind}-{entry.name}"
                yield PluginCheck(plugin.name, thing, check.name, partial(check.function, entry, zoo))
                if is_invalid and check.name == "valid":
                    break  # the others would only repeat what is wrong


def _loads(entry: Entry[Any], zoo: Zoo) -> bool:
    with suppress(Exception), preserved_global_state():
        recipes.load(entry, zoo)
        return True
    return False


def _registers(plugin: PluginInfo) -> None:
    if not plugin.registered:
        raise CheckFailed(f"The plugin '{plugin.name}' registers nothing.", "Call register(...) in each hook.")
    for module in unused_modules(plugin):
        raise CheckFailed(
            f"The module {module} has hooks that nothing calls, because its package {plugin.value} has hooks itself.",
            "Give it its own entry point, or move the package's hooks into modules.",
        )


def _imports(plugin: PluginInfo) -> None:
    for sentence, remedy in isolation.import_problems([plugin])[plugin.name]:
        raise CheckFailed(sentence, remedy)
