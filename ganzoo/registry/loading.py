"""Finding plugins, and collecting what they register.

Plugins are entry points of the group ``ganzoo``; ``packages`` decides which, and in which order. If an entry point
names a package without hooks, each module below it that has hooks is a separate plugin, named after the module.
Modules without hooks are helpers.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cache
from importlib.metadata import EntryPoint, PackageNotFoundError, version
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pluggy

from ganzoo.api import hookspecs
from ganzoo.api.metric import Metric
from ganzoo.api.priors import Prior
from ganzoo.errors import GanzooError, one_line
from ganzoo.files import parse_json
from ganzoo.registry import strict
from ganzoo.registry.packages import (
    OURS,
    allowed,
    allowed_below,
    allowed_module,
    children,
    distribution_name,
    distribution_of,
    ineffective_plugin_names,
    installed,
    is_malformed,
    plugin_name,
    read_metadata,
)
from ganzoo.registry.registry import KINDS, SUMMARIES, Entry, Registry, contained, one_kind
from ganzoo.reproducibility import preserved_global_state

if TYPE_CHECKING:
    from torch import nn

    from ganzoo.api.adversarial import AdversarialLoss, Augmentation, Regularizer
    from ganzoo.api.dataset import Dataset
    from ganzoo.api.metric import Extractor
    from ganzoo.api.objective import Objective
    from ganzoo.api.tracker import Tracker


CORE = (
    EntryPoint("ganzoo-priors", "ganzoo.registry.priors", "ganzoo"),
    EntryPoint("ganzoo-metrics", "ganzoo.evaluation.requests", "ganzoo"),
)
"""ganzoo's own modules that register something, through the same hooks as plugins. They are always loaded."""

HOOKS = {f"register_{plural}": kind for kind, plural in KINDS.items()}
"""Each hook, with the kind it adds."""

OTHER_WORDS = {"objectives": "losses", "critics": "discriminators", "callbacks": "trackers"}
"""Other names that people try for some kinds, with the names that hooks use."""


@dataclass(frozen=True)
class PluginInfo:
    """A plugin that was loaded.

    Attributes:
        name: Its entry point's name, or its module's if the entry point names a package.
        distribution: The distribution that provides it, and the version.
        registered: What it registered, in order.
        value: Where it is, in the syntax of entry points: ``package.module`` or ``package.module:attribute``.
    """

    name: str
    distribution: str
    registered: list[Entry[Any]]
    value: str


@dataclass(frozen=True)
class Problem:
    """A plugin that was refused.

    Attributes:
        plugin: Its entry point's name, or its module's if the entry point names a package.
        distribution: The distribution that provides it, and the version.
        sentence: What is wrong with it, in one line.
    """

    plugin: str
    distribution: str
    sentence: str


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
        """The registry of a kind, given in the singular or plural.

        Raises:
            GanzooError: There is no such kind.
        """
        registry: Registry[Any] = getattr(self, KINDS[one_kind(kind)])
        return registry

    def metric(self, name: str) -> Metric:
        """A registered metric.

        Raises:
            GanzooError: No metric of that name is registered, or its factory does not make a ``Metric``.
        """
        return self.metrics.get(name).create()

    def registries(self) -> list[Registry[Any]]:
        """All registries, in the order of ``KINDS``."""
        return [self.registry(kind) for kind in KINDS]


@cache
def load_zoo() -> Zoo:
    """Load every installed and allowed plugin, once. A broken one is recorded, and the others are still loaded.

    Raises:
        GanzooError: ``GANZOO_PLUGINS`` names a plugin that is not installed.
    """
    zoo = Zoo()
    first: dict[str, str] = {}
    broken: list[str] = []
    points = allowed()
    try:
        distribution = f"{OURS} {version(OURS)}"
    except PackageNotFoundError:  # run from a source folder that is not installed
        distribution = OURS
    core = (_import(point, distribution, point) for point in CORE)
    # Lazy, so that what one entry point leads to is loaded before the next one is imported.
    for source in chain(core, chain.from_iterable(map(_sources, points))):
        name, where = source.point.name, f"{source.point.value} ({source.distribution})"
        if source.error:
            broken.append(source.point.value.partition(":")[0].strip())
        try:
            if name in first:
                both = f"{first[name]} and {where}"
                raise GanzooError(
                    f"Two plugins are called '{name}', {both}; the second is left out.",
                    "Rename one of the entry points or, in a package, one of the modules.",
                )
            first[name] = where
            zoo.plugins.append(_load(source, zoo))
        except GanzooError as error:
            zoo.problems.append(Problem(name, source.distribution, one_line(str(error))))
    for word, point in ineffective_plugin_names(points, first, broken):
        sentence = f"GANZOO_PLUGINS names '{word}', a module of {point.value} that is not loaded as a separate plugin."
        remedy = f"Name '{point.name}' to load all of its plugins."
        zoo.problems.append(Problem(word, distribution_of(point), one_line(f"{sentence} {remedy}")))
    readable, damaged = read_metadata()
    for place, cause in damaged.items():
        sentence = f"The metadata of {place} is damaged ({type(cause).__name__}: {cause}). Reinstall it, or remove it."
        zoo.problems.append(Problem(Path(place).stem, Path(place).stem, one_line(sentence)))
    if OURS not in {distribution_name(point) for point in readable}:
        missing = f"The distribution {OURS} is not installed, so none of its plugins are found."
        zoo.problems.append(Problem("ganzoo", OURS, missing))
    refused = ", ".join(f"'{problem.plugin}'" for problem in zoo.problems)
    for registry in zoo.registries():
        registry.hint = f"Plugins that were refused may provide it: {refused}; see `ganzoo plugins`." if refused else ""
    return zoo


@dataclass(frozen=True)
class _Source:
    """What an entry point leads to: a plugin, or a package of plugins.

    Attributes:
        point: Where it is.
        distribution: The distribution that provides it, and the version.
        imported: The imported object; None if ``error`` says why it could not be imported.
        looks_like_a_plugin: Whether it has hooks, or functions that were probably meant to be hooks.
        modules: Dotted names of a package's modules that may be plugins.
        error: Why it could not be imported.
    """

    point: EntryPoint
    distribution: str
    imported: Any = None
    looks_like_a_plugin: bool = False
    modules: tuple[str, ...] = ()
    error: GanzooError | None = None


def _sources(point: EntryPoint) -> list[_Source]:
    """The plugins that an entry point leads to: itself, or the modules below its package, ordered by name.

    They include what cannot be imported, and a package without plugins: ``_load`` reports what is wrong.
    """
    whole = _import(point, distribution_of(point), point)
    sources = sorted(_below(whole, point), key=lambda source: source.point.name) or [whole]
    return [source for source in sources if source.error or allowed_module(point, source.point.name)]


def _below(package: _Source, root: EntryPoint) -> Iterator[_Source]:
    """The plugins in a package without hooks. A subpackage with hooks is one plugin, with all modules below it."""
    for module in package.modules:
        source = _import(EntryPoint(plugin_name(module), module, root.group), package.distribution, root)
        if source.error or source.looks_like_a_plugin:
            yield source
        else:
            yield from _below(source, root)


def _import(point: EntryPoint, distribution: str, root: EntryPoint) -> _Source:
    """Import what an entry point names, and determine what it is.

    Args:
        point: The entry point, or one made up for a module below it.
        distribution: The distribution that provides it.
        root: The entry point itself.
    """
    try:
        with contained(f"{_named(point, distribution)} could not be imported"), _quiet(), preserved_global_state():
            if is_malformed(point):
                sentence = f"{_named(point, distribution)} has the malformed entry point '{point.value}'."
                raise GanzooError(sentence, "Write package.module.")
            imported = point.load()
            is_plugin = inspect.ismodule(imported) and (
                any(hasattr(function, "ganzoo_impl") for function in _functions(imported)) or bool(_bare(imported))
            )
            modules = () if is_plugin else tuple(_modules_in(imported, root))
            return _Source(point, distribution, imported, is_plugin, modules)
    except GanzooError as error:
        return _Source(point, distribution, error=error)


def _modules_in(package: Any, root: EntryPoint) -> Iterator[str]:
    """The modules of a package that the environment allows, and its subpackages that may contain some."""
    if not inspect.ismodule(package) or not hasattr(package, "__path__"):
        return
    for module, is_package in children(package.__name__, package.__path__):
        allowed_itself = allowed_module(root, plugin_name(module))
        if allowed_itself or (is_package and allowed_below(root, module, package.__path__)):
            yield module


def _functions(module: ModuleType) -> list[Any]:
    functions = []
    for member in vars(module).values():
        # A proxy, such as werkzeug's request, may raise if it is inspected; it is not a function then.
        with contextlib.suppress(Exception):
            if inspect.isroutine(member):
                functions.append(member)
    return functions


def _bare(plugin: Any) -> list[str]:
    """Names of functions ``register_...`` without ``@hookimpl``; those that a module imports are left out."""
    if inspect.ismodule(plugin):
        functions = [function for function in _functions(plugin) if inspect.isfunction(function)]
        own = [(one.__name__, one) for one in functions if one.__module__ == plugin.__name__]
    else:
        own = [(name, getattr(plugin, name)) for name in dir(plugin) if name.startswith("register_")]
    return [n for n, one in own if n.startswith("register_") and callable(one) and not hasattr(one, "ganzoo_impl")]


def unused_modules(plugin: PluginInfo) -> list[str]:
    """The modules below a package with hooks that also define hooks, which nothing calls. None is imported."""
    package = sys.modules.get(plugin.value)
    if package is None:
        return []
    imported = {function.__module__ for function in _functions(package) if hasattr(function, "ganzoo_impl")}
    others = tuple(f"{point.value}." for point in installed() if point.value != plugin.value)
    unused = []
    for folder in getattr(package, "__path__", ()):
        for file in sorted(Path(folder).rglob("*.py")):
            module = ".".join([plugin.value, *file.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__")
            used = module in (plugin.value, *imported) or f"{module}.".startswith(others)
            if not used and "._" not in module and _MARKED.search(file.read_text("utf-8", errors="replace")):
                unused.append(module)
    return unused


_MARKED = re.compile(r"^@(\w+\.)*hookimpl\b.*\n(@.*\n)*def register_", re.MULTILINE)
"""Matches a hook in a module's source."""


def _load(source: _Source, zoo: Zoo) -> PluginInfo:
    """Load one plugin, completely or not at all; process-wide settings that it changes (default dtype, seed) are reset.

    Each plugin has its own manager, so that its hooks are called separately and what they register carries the plugin's
    name.
    """
    point, distribution, plugin = source.point, source.distribution, source.imported
    who = _named(point, distribution)
    manager = pluggy.PluginManager("ganzoo")
    manager.add_hookspecs(hookspecs)
    registered: list[Entry[Any]] = []
    try:
        if source.error:
            raise source.error
        with contained(f"{who} failed while registering"), _quiet(), preserved_global_state():
            _register(manager, plugin, point.name, who)
            for hook, kind in HOOKS.items():
                add = _file_callback if kind in SUMMARIES else _callback
                getattr(manager.hook, hook)(register=add(zoo, kind, point.name, distribution, registered))
    except GanzooError as error:
        for entry in registered:
            zoo.registry(entry.kind).discard(entry.name)
        raise GanzooError(f"{who} is refused: {error}" if who not in str(error) else str(error)) from error
    return PluginInfo(point.name, distribution, registered, point.value)


def _register(manager: pluggy.PluginManager, plugin: Any, name: str, who: str) -> None:
    """Give a plugin's hooks to pluggy, and refuse what pluggy would ignore: other names, a forgotten decorator."""
    try:
        manager.register(plugin, name=name)
    except pluggy.PluginValidationError as error:
        for hook in HOOKS:
            parameters = inspect.signature(getattr(plugin, hook, lambda: None)).parameters
            if set(parameters) - {"register"}:
                raise GanzooError(
                    f"{who} has {hook}({', '.join(parameters)}).", "Its only parameter must be called 'register'."
                ) from error
        raise
    callers = manager.get_hookcallers(plugin) or []
    for caller in callers:
        if not caller.has_spec():
            raise GanzooError(f"{who} implements '{caller.name}', which is not a hook.", _nearest_hook(caller.name))
    # If the plugin has hooks, a missing decorator is certain only for a function with a hook's name.
    if bare := [name for name in _bare(plugin) if not callers or name in HOOKS]:
        but = "" if callers else "implements no hook, but "
        raise GanzooError(f"{who} {but}has {', '.join(bare)} without @hookimpl.", "Decorate it with @ganzoo.hookimpl.")
    if not callers:
        raise GanzooError(f"{who} implements no hook.", f"A plugin has functions such as {next(iter(HOOKS))}.")


def _nearest_hook(name: str) -> str:
    """A hint for a function that is not a hook; only what follows ``register_`` is compared."""
    word = name.removeprefix("register_")
    if word.startswith("optimi"):
        return "Optimizers come from torch.optim; plugins cannot add any."
    known = {plural: plural for plural in KINDS.values()} | OTHER_WORDS
    near = get_close_matches(word, known, n=1)
    return f"Did you mean 'register_{known[near[0]]}'?" if near else f"Hooks are {', '.join(HOOKS)}."


def _callback(
    zoo: Zoo, kind: str, plugin: str, distribution: str, registered: list[Entry[Any]]
) -> hookspecs.Register[Any]:
    registry = zoo.registry(kind)

    def register(
        name: str,
        factory: Callable[..., Any],
        *,
        summary: str = "",  # if it is missing, the registry names the culprit
        paper: str | None = None,
        aliases: Sequence[str] = (),
    ) -> None:
        if isinstance(aliases, str):
            raise GanzooError(f"The {kind} '{name}' has aliases={aliases!r}.", f"Write aliases=({aliases!r},).")
        entry = Entry(kind, name, factory, summary, paper, plugin, distribution, tuple(aliases))
        registry.add(entry)
        registered.append(entry)

    register.__qualname__ = "register"  # the name in Python's errors about its arguments
    return register


def _file_callback(
    zoo: Zoo, kind: str, plugin: str, distribution: str, registered: list[Entry[Any]]
) -> hookspecs.RegisterRecipe:
    add = _callback(zoo, kind, plugin, distribution, registered)

    def register(path: Path, *, aliases: Sequence[str] = ()) -> None:
        path = Path(path)
        if not path.is_absolute():
            raise GanzooError(
                f"The {kind} {path} is registered by a relative path, so it depends on the working folder.",
                f'Write Path(__file__).parent / "{path}".',
            )
        text = _card(path) if path.suffix == ".json" else strict.read_mapping(path)
        summary = text.get(SUMMARIES[kind], "")
        add(path.stem, lambda: path, summary=summary, paper=text.get("paper"), aliases=aliases)

    register.__qualname__ = "register"
    return register


def _card(path: Path) -> dict[str, Any]:
    """A JSON file's content; JSON is read many times faster than YAML."""
    try:
        text = parse_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise GanzooError(f"{path} cannot be read: {error}.") from error
    if not isinstance(text, dict):
        raise GanzooError(f"{path} must hold a mapping of keys to values.")
    return text


def _named(point: EntryPoint, distribution: str) -> str:
    return f"Plugin '{point.name}' ({distribution})"


def _quiet() -> contextlib.AbstractContextManager[Any]:
    """Keep plugins from printing to standard output, which belongs to the command: a script may expect JSON."""
    return contextlib.redirect_stdout(sys.stderr)
