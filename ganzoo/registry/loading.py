"""Finding plugins, entry points of the group ``ganzoo``, and collecting what they register.
If an entry point names a package without hooks, each module below it that has hooks is a plugin of its own.
"""

from __future__ import annotations

import inspect
import pkgutil
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache, partial
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType
from typing import Any

import pluggy
from torch import nn

from ganzoo.api import hookspecs
from ganzoo.api.adversarial import AdversarialLoss, Augmentation, Regularizer
from ganzoo.api.dataset import Dataset
from ganzoo.api.metric import Extractor, Metric
from ganzoo.api.objective import Objective
from ganzoo.api.priors import Prior
from ganzoo.api.tracker import Tracker
from ganzoo.errors import GanzooError, foreign_code, one_line, unknown
from ganzoo.files import parse_json
from ganzoo.registry import strict
from ganzoo.registry.packages import OURS, allowed, distribution_name, distribution_of, refuse_unknown_names
from ganzoo.registry.registry import HANDED_OVER, KINDS, SUMMARIES, Entry, Registry
from ganzoo.reproducibility import preserved_global_state

CORE = (  # ganzoo's own modules that register something: always loaded
    EntryPoint("ganzoo-priors", "ganzoo.registry.priors", "ganzoo"),
    EntryPoint("ganzoo-metrics", "ganzoo.evaluation.metrics", "ganzoo"),
)
SESSION = "session"  # the plugin of what a script or notebook hands over
HOOKS = {f"register_{plural}": kind for kind, plural in KINDS.items()}  # the kind that each hook adds
OTHER_WORDS = {"objectives": "losses", "critics": "discriminators", "callbacks": "trackers"}  # people try these too


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that was loaded."""

    name: str  # its entry point's, or its module's if the entry point names a package
    distribution: str  # the package that provides it, and the version
    registered: list[Entry[Any]]  # in order
    value: str  # where it is, as entry points say it: package.module or package.module:attribute


@dataclass(frozen=True)
class Problem:
    """A plugin that was refused."""

    plugin: str  # its name, as in PluginInfo
    distribution: str
    sentence: str  # what is wrong with it, in one line


@dataclass
class Zoo:
    """Everything that was registered, by kind."""

    generators: Registry[nn.Module] = field(default_factory=lambda: Registry("generator"))
    discriminators: Registry[nn.Module] = field(default_factory=lambda: Registry("discriminator"))
    encoders: Registry[nn.Module] = field(default_factory=lambda: Registry("encoder"))
    losses: Registry[AdversarialLoss | Objective] = field(default_factory=lambda: Registry("loss"))
    regularizers: Registry[Regularizer] = field(default_factory=lambda: Registry("regularizer"))
    augmentations: Registry[Augmentation] = field(default_factory=lambda: Registry("augmentation"))
    datasets: Registry[Dataset] = field(default_factory=lambda: Registry("dataset"))
    priors: Registry[Prior] = field(default_factory=lambda: Registry("prior"))
    extractors: Registry[Extractor] = field(default_factory=lambda: Registry("extractor"))
    metrics: Registry[Metric] = field(default_factory=lambda: Registry("metric"))
    trackers: Registry[Tracker] = field(default_factory=lambda: Registry("tracker"))
    recipes: Registry[Path] = field(default_factory=lambda: Registry("recipe"))
    studies: Registry[Path] = field(default_factory=lambda: Registry("study"))
    pretrained: Registry[Path] = field(default_factory=lambda: Registry("pretrained"))
    plugins: list[PluginInfo] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)

    def registry(self, kind: str) -> Registry[Any]:
        """The registry of a kind, given in the singular or plural; a ``GanzooError`` names the nearest."""
        for singular, plural in KINDS.items():
            if kind.lower() in (singular, plural):
                registry: Registry[Any] = getattr(self, plural)
                return registry
        raise unknown("kind", kind, KINDS.values())

    def copy(self) -> Zoo:
        """A zoo to which more can be added without changing this one."""
        copies: dict[str, Any] = {plural: self.registry(kind).copy() for kind, plural in KINDS.items()}
        return replace(self, plugins=[*self.plugins], **copies)

    def metric(self, name: str) -> Metric:
        """A registered metric."""
        return self.metrics.get(name).create()

    def registries(self) -> list[Registry[Any]]:
        """All registries, in the order of ``KINDS``."""
        return [self.registry(kind) for kind in KINDS]


@cache
def load_zoo() -> Zoo:
    """Load every installed and allowed plugin, once. A broken one is recorded, and the others are still loaded."""
    refuse_unknown_names()
    zoo = Zoo()
    first: dict[str, str] = {}
    installed = [(point, distribution_of(point)) for point in allowed()]
    ours = [distribution for point, distribution in installed if distribution_name(point) == OURS]
    # What one entry point leads to is loaded before the next one is imported.
    for whole, distribution in [*((point, ours[0] if ours else OURS) for point in CORE), *installed]:
        nothing = GanzooError(
            f"{_named(whole, distribution)} implements no hook.", f"A plugin has functions such as {next(iter(HOOKS))}."
        )
        for point, plugin in sorted(_found(whole, distribution), key=lambda one: one[0].name) or [(whole, nothing)]:
            where = f"{point.value} ({distribution})"
            try:
                if first.setdefault(point.name, where) != where:
                    raise GanzooError(
                        f"Two plugins are called '{point.name}', {first[point.name]} and {where}; the second is left "
                        "out.",
                        "Rename one of the entry points or, in a package, one of the modules.",
                    )
                zoo.plugins.append(_load(point, distribution, plugin, zoo))
            except GanzooError as error:
                zoo.problems.append(Problem(point.name, distribution, one_line(str(error))))
    if not ours:
        sentence = f"The distribution {OURS} is not installed, so none of its plugins are found."
        zoo.problems.append(Problem("ganzoo", OURS, sentence))
    refused = ", ".join(f"'{problem.plugin}'" for problem in zoo.problems)
    for registry in zoo.registries():
        registry.hint = f"Plugins that were refused may provide it: {refused}; see `ganzoo plugins`." if refused else ""
    return zoo


def _found(point: EntryPoint, distribution: str) -> list[tuple[EntryPoint, Any]]:
    """The plugins at an entry point, each as an object or the error from importing it; see the module's docstring."""
    who = _named(point, distribution)
    try:
        # Standard output belongs to the command: a script may expect JSON.
        with (
            foreign_code(f"{who} could not be imported", plugin=True),
            redirect_stdout(sys.stderr),
            preserved_global_state(),
        ):
            if EntryPoint.pattern.match(point.value) is None:
                raise GanzooError(f"{who} has the malformed entry point '{point.value}'.", "Write package.module.")
            plugin = point.load()
            members = vars(plugin).values() if inspect.ismodule(plugin) else ()
            has_hooks = any(hasattr(one, "ganzoo_impl") for one in members if inspect.isfunction(one))
            if not inspect.ismodule(plugin) or has_hooks or _undecorated(plugin):
                return [(point, plugin)]
            modules = pkgutil.iter_modules(getattr(plugin, "__path__", ()), f"{plugin.__name__}.")
    except GanzooError as error:
        return [(point, error)]
    names = {module.name: module.name.rpartition(".")[2] for module in modules}
    return [
        one
        for module, name in names.items()
        if not name.startswith("_")
        for one in _found(EntryPoint(name.replace("_", "-"), module, point.group), distribution)
    ]


def _undecorated(plugin: Any) -> list[str]:
    return [
        name
        for name, member in vars(plugin).items()
        if name.startswith("register_")
        and inspect.isfunction(member)
        and member.__module__ == plugin.__name__
        and not hasattr(member, "ganzoo_impl")
    ]


def _load(point: EntryPoint, distribution: str, plugin: Any, zoo: Zoo) -> PluginInfo:
    """Load one plugin, completely or not at all, with its own manager; global settings that it changes are reset."""
    who = _named(point, distribution)
    info = PluginInfo(point.name, distribution, [], point.value)
    manager = pluggy.PluginManager("ganzoo")
    manager.add_hookspecs(hookspecs)
    try:
        if isinstance(plugin, GanzooError):
            raise plugin
        with (
            foreign_code(f"{who} failed while registering", plugin=True),
            redirect_stdout(sys.stderr),
            preserved_global_state(),
        ):
            manager.register(plugin)
            _refuse_ignored_functions(manager, plugin, who)
            for hook, kind in HOOKS.items():
                callback: Any = register_file if kind in SUMMARIES else register
                getattr(manager.hook, hook)(register=partial(callback, zoo.registry(kind), info))
    except GanzooError as error:
        for entry in info.registered:
            zoo.registry(entry.kind).discard(entry.name)
        if distribution == HANDED_OVER or who in str(error):
            raise
        raise GanzooError(f"{who} is refused: {error}") from error
    return info


def hand_over(zoo: Zoo, kind: str, *arguments: Any, **keywords: Any) -> None:
    """Register something from a script or notebook, through its kind's hook; what it registered before is replaced.

    Args:
        zoo: Where to add it.
        kind: One of ``KINDS``.
        arguments: What the hook's ``register`` callback takes: a name and a factory, or a path.
        keywords: The others that it takes; without a summary, that is the first line of the factory's docstring.

    Raises:
        GanzooError: Something is wrong with it; the zoo is as before.
    """

    def implementation(register: Any) -> None:
        register(*arguments, **keywords)

    plugin = ModuleType(SESSION)
    setattr(plugin, f"register_{KINDS[zoo.registry(kind).kind]}", hookspecs.hookimpl(implementation))
    zoo.plugins.append(_load(EntryPoint(SESSION, SESSION, "ganzoo"), HANDED_OVER, plugin, zoo))


def _refuse_ignored_functions(manager: pluggy.PluginManager, plugin: Any, who: str) -> None:
    """Refuse what pluggy would ignore: a hook of another name, a forgotten decorator."""
    hooks = manager.get_hookcallers(plugin) or []
    for hook in hooks:
        if not hook.has_spec():
            known = {plural: plural for plural in KINDS.values()} | OTHER_WORDS
            near = get_close_matches(hook.name.removeprefix("register_"), known, n=1)
            hint = f"Did you mean 'register_{known[near[0]]}'?" if near else f"Hooks are {', '.join(HOOKS)}."
            raise GanzooError(f"{who} implements '{hook.name}', which is not a hook.", hint)
    # If the plugin has hooks, a missing decorator is certain only for a function with a hook's name.
    if bare := [name for name in _undecorated(plugin) if not hooks or name in HOOKS]:
        but = "" if hooks else "implements no hook, but "
        raise GanzooError(f"{who} {but}has {', '.join(bare)} without @hookimpl.", "Decorate it with @ganzoo.hookimpl.")


def register(
    registry: Registry[Any],
    plugin: PluginInfo,
    /,
    name: str,
    factory: Callable[..., Any],
    *,
    summary: str = "",  # if it is missing, the registry names the culprit
    paper: str | None = None,
    aliases: Sequence[str] = (),
) -> None:
    """What hooks receive, after the first two arguments: see ``hookspecs.Register``."""
    if isinstance(aliases, str):
        raise GanzooError(f"The {registry.kind} '{name}' has aliases={aliases!r}.", f"Write aliases=({aliases!r},).")
    if not summary and plugin.distribution == HANDED_OVER:
        summary = (factory.__doc__ or name).strip().partition("\n")[0].removesuffix(".")
    entry = Entry(registry.kind, name, factory, summary, paper, plugin.name, plugin.distribution, tuple(aliases))
    plugin.registered.append(registry.add(entry))


def register_file(registry: Registry[Any], plugin: PluginInfo, /, path: Path, *, aliases: Sequence[str] = ()) -> None:
    """The same for a file: see ``hookspecs.RegisterRecipe``."""
    path = Path(path)
    if not path.is_absolute():
        raise GanzooError(
            f"The {registry.kind} {path} is registered by a relative path, so it depends on the working folder.",
            f'Write Path(__file__).parent / "{path}" or, in a notebook, Path("{path}").absolute().',
        )
    # JSON is read many times faster than YAML.
    content = parse_json(path.read_bytes()) if path.suffix == ".json" else strict.read_mapping(path)
    summary, paper = content.get(SUMMARIES[registry.kind], ""), content.get("paper")
    register(registry, plugin, path.stem, lambda: path, summary=summary, paper=paper, aliases=aliases)


def _named(point: EntryPoint, distribution: str) -> str:
    return f"Plugin '{point.name}' ({distribution})"
