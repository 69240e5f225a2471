"""From a YAML file to a checked recipe: find the file, parse it, apply overrides, validate it, look up its names."""

from __future__ import annotations

import copy
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganzoo.config.headline import headline
from ganzoo.config.optimizers import SCHEDULED, canonical, check_optimizer, optimizer_options
from ganzoo.config.schema import (
    FOREIGN_EXTRACTORS,
    HEADLINE,
    Component,
    DatasetConfig,
    EvaluateConfig,
    NetworkConfig,
    PhaseOverride,
    Recipe,
    ScheduleConfig,
    TrainConfig,
    Until,
    is_schedule,
)
from ganzoo.errors import GanzooError, nearest, unknown
from ganzoo.registry import strict_yaml
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import Entry, check_name
from ganzoo.registry.validation import KeyPath, ValidationFailed, ValidationIssue, issues

__all__ = [
    "Component",
    "DatasetConfig",
    "EvaluateConfig",
    "NetworkConfig",
    "PhaseOverride",
    "Recipe",
    "ScheduleConfig",
    "TrainConfig",
    "Until",
    "load_recipe",
]


def load_recipe(source: str | Path, zoo: Zoo, overrides: Sequence[str] = (), *, migrate: bool = False) -> Recipe:
    """Read and check a recipe.

    Args:
        source: A registered name, or the path of a YAML file.
        zoo: Where its names are looked up.
        overrides: Changes of the form ``a.b=c``, c being YAML.
        migrate: Accept keys that earlier versions wrote, as in the recipe.yaml of an old run.

    Returns:
        The recipe, with every option filled in.

    Raises:
        GanzooError: Anything is wrong with it, naming the file, the key and what was probably meant.
    """
    path = _find(source, zoo)
    data = strict_yaml.read_mapping(path)
    return _recipe_of(_renamed(data, zoo) if migrate else data, path.stem, path, zoo, overrides)


def _recipe_of(data: dict[str, Any], name: str, place: str | Path, zoo: Zoo, overrides: Sequence[str]) -> Recipe:
    check_name("recipe", name)
    parsed = [Override.parse(text) for text in overrides]
    data = apply_overrides(data, parsed, zoo)
    found = list(_old_keys(data, zoo))
    given = _renamed(data, zoo)
    if "name" in given:
        found.append(ValidationIssue((), "has no key 'name'", "A recipe takes its name from its file.", "name"))
        del given["name"]
    recipe = None
    try:
        recipe = Recipe.model_validate({**given, "name": name})
    except ValidationError as error:
        found += issues(error, Recipe, given)
    if recipe is not None:
        checked, more = _against_zoo(recipe, zoo)
        recipe, found = recipe.model_copy(update=checked), [*found, *more]
    if recipe is None or found:
        raise ValidationFailed(found, [_in_words(issue, Path(place), parsed) for issue in found])
    return recipe


def parse_recipe(text: str, name: str, zoo: Zoo, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML text instead of a file; see ``load_recipe``."""
    data = strict_yaml.parse(text, f"recipe '{name}'")
    return _recipe_of(data if isinstance(data, dict) else {}, name, f"recipe '{name}'", zoo, overrides)


def _find(source: str | Path, zoo: Zoo) -> Path:
    if isinstance(source, str) and source in zoo.recipes:
        return zoo.recipes.get(source).create()
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or isinstance(source, Path) or _is_file(path):
        return path
    return zoo.recipes.get(str(source)).create()  # raises, naming the nearest


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name, or in a folder that may not be searched
        return False


def _sections_with_old_keys(
    data: Mapping[str, Any], zoo: Zoo
) -> Iterator[tuple[tuple[str | int, ...], dict[str, Any], str]]:
    """Every mapping that still says ``every``: its path, itself, and what the key is called now."""
    own = {entry.name for entry in zoo.regularizers if "every" in entry.options.types}
    regularizers, phases = data.get("regularizers"), data.get("phases")
    places: list[tuple[tuple[str | int, ...], Any, str]] = [(("evaluate",), data.get("evaluate"), "every_images")]
    if isinstance(regularizers, list):
        places += [(("regularizers", index), one, "every_steps") for index, one in enumerate(regularizers)]
    if isinstance(phases, dict):
        places += [(("phases", name), one, "every_steps") for name, one in phases.items()]
    for path, section, new in places:
        if isinstance(section, dict) and "every" in section and section.get("name") not in own:
            yield path, section, new


def _old_keys(data: Mapping[str, Any], zoo: Zoo) -> Iterator[ValidationIssue]:
    for path, _, new in _sections_with_old_keys(data, zoo):
        place = ".".join(map(str, path))
        yield ValidationIssue(path, f"{place}.every is now {place}.{new}", key="every", whole=True)


def _renamed(data: Mapping[str, Any], zoo: Zoo) -> dict[str, Any]:
    """A copy with today's keys where the old ones were."""
    renamed = copy.deepcopy(dict(data))
    for _, section, new in _sections_with_old_keys(renamed, zoo):
        items = {new if key == "every" else key: value for key, value in section.items()}
        section.clear()
        section.update(items)
    return renamed


def _in_words(issue: ValidationIssue, path: Path, overrides: Sequence[Override]) -> str:
    to_blame = [override for override in overrides if override.concerns(issue.place)]
    place = f"--set {to_blame[-1].text}" if to_blame else str(path)
    return f"{place}: {issue.sentence('the recipe')}"


def _against_zoo(recipe: Recipe, zoo: Zoo) -> tuple[dict[str, Any], list[ValidationIssue]]:
    """Every component with its options filled in, by the recipe's fields, and what is wrong with them."""
    found: list[ValidationIssue] = []
    lists: dict[str, list[Component]] = {"regularizers": [], "trackers": []}
    checked: dict[str, Any] = {}
    for path, kind, component in recipe.components():
        filled = _filled(component, kind, path, zoo, found)
        if len(path) == 1:
            checked[str(path[0])] = filled
        else:
            lists[str(path[0])].append(filled)
    roles = _roles(recipe, zoo)
    found += _missing_and_extra(recipe, roles)
    checked["networks"] = {
        role: _filled(recipe.networks[role], kind, ("networks", role), zoo, found)
        for role, kind in roles.items()
        if role in recipe.networks
    }
    checked["optimizers"] = {role: _optimizer(one, role, found) for role, one in recipe.optimizers.items()}
    evaluate = checked["evaluate"] = _with_headline(recipe, zoo)
    found += _wrong_metrics(recipe.model_copy(update={"evaluate": evaluate}), zoo)
    return {**checked, **{key: tuple(value) for key, value in lists.items()}}, found


def _filled(
    component: Component, kind: str, path: tuple[str | int, ...], zoo: Zoo, found: list[ValidationIssue]
) -> Component:
    try:
        entry = zoo.registry(kind).get(component.name)
    except GanzooError as error:
        found.append(ValidationIssue(path, error.sentence, error.remedy, whole=True))
        return component
    return _checked(component, entry.check, _may_be_scheduled(entry), path, found)


def _may_be_scheduled(entry: Entry[Any]) -> tuple[str, ...]:
    """The options of an entry that may change during training."""
    if entry.kind == "regularizer":
        return ("weight",)
    scheduled = getattr(entry.factory, "scheduled", ()) if entry.kind == "augmentation" else ()
    return tuple(scheduled)


def _optimizer(component: Component, role: str, found: list[ValidationIssue]) -> Component:
    path = ("optimizers", role)
    try:
        name = canonical(component.name)
    except GanzooError as error:
        found.append(ValidationIssue(path, error.sentence, error.remedy, whole=True))
        return component
    named = component.model_copy(update={"name": name})
    checked = _checked(named, lambda options: check_optimizer(name, options), SCHEDULED, path, found)
    if isinstance(checked.options.get("lr"), ScheduleConfig) and checked.options.get("decay") != "constant":
        found.append(ValidationIssue(path, "has a schedule of lr and a decay", "Remove one of the two."))
    return checked


def _checked(
    component: Component,
    check: Callable[[Mapping[str, Any]], dict[str, Any]],
    scheduled: Sequence[str],
    path: tuple[str | int, ...],
    found: list[ValidationIssue],
) -> Component:
    """A component with its options filled in.

    Args:
        component: As the recipe gives it.
        check: From given options to all of them; raises ``ValidationFailed``.
        scheduled: Options that may be a schedule, or a list with schedules. Its start and its end each have to be
            what the option may be.
        path: Where in the recipe it is.
        found: Gets what is wrong.
    """
    before = len(found)
    given = {
        key: _with_schedules(value, (*path, key), found) if key in scheduled else value
        for key, value in component.options.items()
    }
    if len(found) > before:
        return component
    try:
        options = check(_at(given, "start"))
    except ValidationFailed as error:
        found += [issue.below(*path) for issue in error.issues]
        return component
    has_schedule = {key: value for key, value in given.items() if _at(value, "start") != value}
    if has_schedule:
        try:
            check(_at(given, "end"))
        except ValidationFailed as error:
            found += [issue.below(*path) for issue in error.issues]
    return component.model_copy(update={"options": {**options, **has_schedule}})


def _with_schedules(value: Any, path: tuple[str | int, ...], found: list[ValidationIssue]) -> Any:
    """A value whose mappings are turned into schedules, inside a list too."""
    if isinstance(value, (list, tuple)):
        return tuple(_with_schedules(item, (*path, index), found) for index, item in enumerate(value))
    if is_schedule(value):
        try:
            return ScheduleConfig.model_validate(value)
        except ValidationError as error:
            found += [issue.below(*path) for issue in issues(error, ScheduleConfig, value)]
    return value


def _at(value: Any, key: str) -> Any:
    """A value with each schedule replaced by its ``start`` or ``end``."""
    if isinstance(value, ScheduleConfig):
        return value.values().get(key, value.start)
    if isinstance(value, (list, tuple)):
        return [_at(item, key) for item in value] if any(isinstance(i, ScheduleConfig) for i in value) else value
    if isinstance(value, dict):
        return {name: _at(item, key) for name, item in value.items()}
    return value


def _roles(recipe: Recipe, zoo: Zoo) -> Mapping[str, str]:
    """The networks that the objective trains, each with the kind that provides it."""
    from ganzoo.api.objective import Objective

    factory = zoo.losses.get(recipe.loss.name).factory if recipe.loss.name in zoo.losses else None
    return factory.roles if isinstance(factory, type) and issubclass(factory, Objective) else Objective.roles


def _missing_and_extra(recipe: Recipe, roles: Mapping[str, str]) -> Iterator[ValidationIssue]:
    players = f"The loss '{recipe.loss.name}' trains {', '.join(roles)}."
    for role in roles:
        if role not in recipe.networks:
            yield ValidationIssue(("networks",), f"needs the key '{role}'", players, role)
    for role in recipe.networks:
        if role not in roles:
            yield ValidationIssue(("networks",), f"has no key '{role}'", players, role)


def _with_headline(recipe: Recipe, zoo: Zoo) -> EvaluateConfig:
    """``evaluate`` with each metric named: what ``headline`` stands for depends on the dataset and on the plugins."""
    names = [
        name
        for given in recipe.evaluate.metrics
        for name in (headline(recipe.dataset.name, zoo) if given == HEADLINE else (given,))
    ]
    return recipe.evaluate.model_copy(update={"metrics": tuple(dict.fromkeys(names))})


def _wrong_metrics(recipe: Recipe, zoo: Zoo) -> Iterator[ValidationIssue]:
    """What is wrong with ``evaluate.metrics`` and ``train.until``: metrics and extractors come from plugins."""
    extractors = [*(entry.name for entry in zoo.extractors), *FOREIGN_EXTRACTORS]
    metrics = [entry.name for entry in zoo.metrics]
    for index, name in enumerate(recipe.evaluate.metrics):
        place = ("evaluate", "metrics", index)
        metric, at, extractor = name.partition("@")
        if metric in metrics and not zoo.metric(metric).needs_features:
            if at:
                yield ValidationIssue(place, f"is '{name}'", f"Write {metric}, which needs no extractor.")
            continue
        if not (metric and extractor):
            yield ValidationIssue(place, f"is '{name}'", "Write <metric>@<extractor>, such as fid@mnist-cnn.")
            continue
        if metric not in metrics:
            error = unknown("metric", metric, metrics, zoo.metrics.hint, zoo.metrics.aliases)
            yield ValidationIssue(place, error.sentence, error.remedy, whole=True)
        elif zoo.metric(metric).needs_labels and not recipe.conditional:
            yield ValidationIssue((), f"scores '{name}', which needs conditional: true")
        if extractor not in extractors:
            error = unknown("extractor", extractor, extractors, zoo.extractors.hint, zoo.extractors.aliases)
            yield ValidationIssue(place, error.sentence, error.remedy, whole=True)
    for until in recipe.train.conditions:
        section = ("train", "until")
        waited = until.metric.partition("@")[0]
        better = zoo.metric(waited).better if waited in metrics else None
        if until.metric not in recipe.evaluate.metrics:
            yield ValidationIssue(
                section,
                f"waits for '{until.metric}', which is not in evaluate.metrics",
                f"There are {', '.join(recipe.evaluate.metrics)}." if recipe.evaluate.metrics else "",
            )
        elif until.below is not None and better in ("higher", "neither"):
            yield ValidationIssue(section, f"waits for '{until.metric}' to fall, but lower is not better there")
        elif until.above is not None and better in ("lower", "neither"):
            yield ValidationIssue(section, f"waits for '{until.metric}' to rise, but higher is not better there")


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

    def concerns(self, place: KeyPath) -> bool:
        """Whether a mistake at ``place`` may come from it: one of the two paths begins with the other."""
        shared = min(len(place), len(self.path))
        return shared > 0 and tuple(map(str, place[:shared])) == self.path[:shared]


def apply_overrides(data: dict[str, Any], overrides: Sequence[Override], zoo: Zoo) -> dict[str, Any]:
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
    if section == "prior" and isinstance(name, str) and name in zoo.priors:
        return zoo.priors.get(name).options.types
    if section == "optimizers" and isinstance(name, str):
        with suppress(GanzooError):  # an unknown name is refused later, with its place
            return optimizer_options(canonical(name)).types
    return {"networks": ("spectral_norm",), "dataset": ("validation",)}.get(section, ())


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
