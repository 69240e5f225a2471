"""Checks a recipe against the installed plugins: its components' options, optimizers, metrics, and the headline.

Optimizers are the classes of ``torch.optim`` that step without a closure, each with its own options. The headline
metrics are the few by which a dataset's samples are judged, side by side; the first one determines the ranking.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, get_args, get_type_hints

import torch
from pydantic import Field, ValidationError

from ganzoo.api.objective import Objective
from ganzoo.config.schema import Component, Recipe, ScheduleConfig, is_schedule
from ganzoo.errors import GanzooError, unknown
from ganzoo.registry.registry import HEADLINE, NETWORK_KINDS, Options, check_scheduled
from ganzoo.registry.strict import KeyPath, ValidationFailed, ValidationIssue, issues, meant

if TYPE_CHECKING:
    from ganzoo.registry.loading import Zoo


SECTIONS: Final[Mapping[str, str]] = {
    **dict.fromkeys(NETWORK_KINDS, "networks"),
    "loss": "loss",
    "regularizer": "regularizers",
    "augmentation": "augmentation",
    "dataset": "dataset",
    "prior": "prior",
    "tracker": "trackers",
}
"""The key of a recipe that names a component of each kind."""


def against_zoo(recipe: Recipe, zoo: Zoo) -> tuple[dict[str, Any], list[ValidationIssue]]:
    """The recipe's fields with every component's options filled in, and what is wrong with the recipe."""
    mistakes: list[ValidationIssue] = []
    lists: dict[str, list[Component]] = {"regularizers": [], "trackers": []}
    checked: dict[str, Any] = {}
    for path, kind, component in recipe.components():
        filled = _filled(component, kind, path, zoo, mistakes)
        if len(path) == 1:
            checked[str(path[0])] = filled
        else:
            lists[str(path[0])].append(filled)
    roles = _roles(checked["loss"], zoo, mistakes)
    if roles is None:  # the loss is refused, so its networks are unknown
        roles = {role: kind for role, kind in Objective.roles.items() if role in recipe.networks}
    else:
        players = f"The loss '{recipe.loss.name}' trains {', '.join(roles)}."
        missing, extra = roles.keys() - recipe.networks.keys(), recipe.networks.keys() - roles.keys()
        hints = {role: meant(role, roles) for role in sorted(extra)}
        for role in sorted(missing):
            if f"Did you mean '{role}'?" not in hints.values():
                mistakes.append(ValidationIssue(("networks",), f"needs the key '{role}'", players, role))
        for role, hint in hints.items():
            remedy = hint if hint.startswith("Did you mean") else players
            mistakes.append(ValidationIssue(("networks",), f"has no key '{role}'", remedy, role))
    checked["networks"] = {
        role: _filled(recipe.networks[role], kind, ("networks", role), zoo, mistakes)
        for role, kind in roles.items()
        if role in recipe.networks
    }
    checked["optimizers"] = {role: _optimizer(one, role, mistakes) for role, one in recipe.optimizers.items()}
    # `headline` is expanded here, since it depends on the dataset and on the plugins.
    metrics = [
        name
        for requested in recipe.evaluate.metrics
        for name in (headline(recipe.dataset.name, zoo) if requested == HEADLINE else (requested,))
    ]
    checked["evaluate"] = recipe.evaluate.model_copy(update={"metrics": tuple(dict.fromkeys(metrics))})
    mistakes += _wrong_metrics(recipe.model_copy(update={"evaluate": checked["evaluate"]}), zoo)
    return {**checked, **{key: tuple(value) for key, value in lists.items()}}, mistakes


def _roles(loss: Component, zoo: Zoo, mistakes: list[ValidationIssue]) -> Mapping[str, str] | None:
    """The networks that a loss trains, each with the kind that provides it; None if the loss is refused.

    Args:
        loss: The loss, with its options filled in unless ``mistakes`` says what is wrong with them.
        zoo: Where it is looked up.
        mistakes: Issues are added here.
    """
    if loss.name not in zoo.losses:
        return None
    entry = zoo.losses.get(loss.name)
    if not isinstance(entry.factory, type) and any(issue.path[:1] == ("loss",) for issue in mistakes):
        return None
    try:
        roles = getattr(entry.prototype(loss.initial_options()), "roles", Objective.roles)
        if isinstance(roles, Mapping) and all(isinstance(r, str) and k in NETWORK_KINDS for r, k in roles.items()):
            return roles
        remedy = f"Set roles in its class, to a mapping from names to {', '.join(NETWORK_KINDS)}."
        raise GanzooError(f"The loss '{loss.name}' has roles = {roles!r}.", remedy)
    except GanzooError as error:
        mistakes.append(ValidationIssue.of(error, "loss"))
    return None


def _filled(component: Component, kind: str, path: KeyPath, zoo: Zoo, mistakes: list[ValidationIssue]) -> Component:
    try:
        entry = zoo.registry(kind).get(component.name)
    except GanzooError as error:
        if kind == "augmentation" and component.name.lower() == "none":
            error = GanzooError(error.sentence, "Write null for no augmentation.")
        mistakes.append(_of_another_kind(component.name, kind, path, zoo) or ValidationIssue.of(error, *path))
        return component
    # Datasets and networks also have ganzoo's own keys.
    if type(component) is Component and not entry.options.types:
        none = f"The {kind} '{component.name}' takes no options"
        hints = {key: entry.options.unknown(key, f"Remove '{key}'.") for key in component.options}
        mistakes += [ValidationIssue(path, none, hint, key, whole=True) for key, hint in hints.items()]
        return component
    scheduled: Sequence[str] = ("weight",) if kind == "regularizer" else ()
    if kind == "augmentation":
        options = component.options.items()
        first = {key: value.get("start", value) if isinstance(value, dict) else value for key, value in options}
        made = None
        with suppress(GanzooError):  # `_checked` reports what is wrong with the options
            made = entry.prototype({} if isinstance(entry.factory, type) else entry.check(first))
        try:
            scheduled = check_scheduled(entry, made)
        except GanzooError as error:
            mistakes.append(ValidationIssue.of(error, *path))
            return component
    return _checked(component, entry.check, scheduled, path, mistakes)


def _of_another_kind(name: str, kind: str, path: KeyPath, zoo: Zoo) -> ValidationIssue | None:
    """The issue if a component is in the wrong section, such as a loss among the regularizers; None if it is not."""
    if name in zoo.registry(kind).aliases:
        return None
    for other, section in SECTIONS.items():
        if section != SECTIONS[kind] and name in zoo.registry(other):
            is_one, is_none = (f"{'an' if one[0] in 'aeiou' else 'a'} {one}" for one in (other, kind))
            sentence = f"'{name}' is {is_one}, not {is_none}"
            return ValidationIssue(path, sentence, f"Put it under '{section}'.", whole=True)
    return None


def _optimizer(component: Component, role: str, mistakes: list[ValidationIssue]) -> Component:
    path = ("optimizers", role)
    try:
        name = canonical(component.name)
    except GanzooError as error:
        mistakes.append(ValidationIssue.of(error, *path))
        return component
    named = component.model_copy(update={"name": name})
    checked = _checked(named, lambda options: check_optimizer(name, options), SCHEDULED, path, mistakes)
    if isinstance(checked.options.get("lr"), ScheduleConfig) and checked.options.get("decay") != "constant":
        mistakes.append(ValidationIssue(path, "has both a schedule of lr and a decay", "Remove one of the two."))
    return checked


def _checked(
    component: Component,
    check: Callable[[Mapping[str, Any]], dict[str, Any]],
    scheduled: Sequence[str],
    path: KeyPath,
    mistakes: list[ValidationIssue],
) -> Component:
    """A component with its options filled in.

    Args:
        component: As the recipe gives it.
        check: Returns the given options with defaults filled in; raises ``ValidationFailed``.
        scheduled: Options that may be a schedule, or a list with schedules. A schedule's start and end must each be a
            valid value of the option.
        path: Where in the recipe it is.
        mistakes: Issues are added here.
    """
    before = len(mistakes)
    converted = {
        key: _with_schedules(value, (*path, key), mistakes) if key in scheduled else value
        for key, value in component.options.items()
    }
    if len(mistakes) > before:
        return component
    try:
        options = check(_at(converted, "start"))
    except ValidationFailed as error:
        mistakes += [issue.below(*path) for issue in error.issues]
        return component
    has_schedule = {key: value for key, value in converted.items() if _at(value, "start") != value}
    if has_schedule:
        try:
            check(_at(converted, "end"))
        except ValidationFailed as error:
            mistakes += [issue.below(*path) for issue in error.issues]
    return component.model_copy(update={"options": {**options, **has_schedule}})


def _with_schedules(value: Any, path: KeyPath, mistakes: list[ValidationIssue]) -> Any:
    """A value with its mappings converted to schedules, inside a list too."""
    if isinstance(value, (list, tuple)):
        return tuple(_with_schedules(item, (*path, index), mistakes) for index, item in enumerate(value))
    if is_schedule(value):
        try:
            return ScheduleConfig.model_validate(value)
        except ValidationError as error:
            mistakes += [issue.below(*path) for issue in issues(error, ScheduleConfig, value)]
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


def wrong_metric(name: str, zoo: Zoo, *more: str) -> Iterator[GanzooError]:
    """What is wrong with the metric and the extractor in a name such as ``fid@mnist-cnn``.

    Args:
        name: As the user wrote it.
        zoo: Where metrics and extractors are looked up.
        more: Words that are also allowed instead of a metric.
    """
    metric, at, extractor = name.partition("@")
    if metric in zoo.metrics and not zoo.metric(metric).needs_features:
        if at:
            yield GanzooError(f"The metric '{metric}' needs no extractor (in '{name}').", f"Write {metric}.")
        return
    metrics = [*more, *(entry.name for entry in zoo.metrics)]
    if metric == "all" and at and metric not in metrics:
        yield GanzooError(
            f"'{name}' only works with `ganzoo eval`.", "Name each metric in a recipe, or write headline."
        )
        return
    if metric not in metrics and (metric or extractor):
        yield unknown("metric", metric, metrics, zoo.metrics.hint, zoo.metrics.aliases)
    elif not extractor:
        remedy = "Write <metric>@<extractor>, such as fid@mnist-cnn."
        yield GanzooError(f"The metric '{name}' does not name an extractor.", remedy)
    if extractor and extractor not in zoo.extractors:
        known = [entry.name for entry in zoo.extractors]
        yield unknown("extractor", extractor, known, zoo.extractors.hint, zoo.extractors.aliases)


def wrong_threshold(metric: str, below: float | None, above: float | None, zoo: Zoo) -> str:
    """What is wrong with waiting until a score crosses a threshold, as a predicate; empty if nothing is.

    Args:
        metric: Such as ``fid@mnist-cnn``; an unknown one is reported elsewhere.
        below: The threshold that it should fall below, or None.
        above: The threshold that it should rise above, or None.
        zoo: Where the metric is looked up.
    """
    name = metric.partition("@")[0]
    better = zoo.metric(name).better if name in zoo.metrics else None
    if below is not None and better in ("higher", "neither"):
        return f"waits for '{metric}' to fall, but lower is not better for it"
    if above is not None and better in ("lower", "neither"):
        return f"waits for '{metric}' to rise, but higher is not better for it"
    return ""


def _wrong_metrics(recipe: Recipe, zoo: Zoo) -> Iterator[ValidationIssue]:
    """What is wrong with ``evaluate.metrics``, ``train.until`` and ``train.keep_best``, given the plugins' metrics."""
    listed = f"It lists {', '.join(recipe.evaluate.metrics)}." if recipe.evaluate.metrics else ""
    for index, name in enumerate(recipe.evaluate.metrics):
        wrong = [ValidationIssue.of(error, "evaluate", "metrics", index) for error in wrong_metric(name, zoo)]
        yield from wrong
        if not wrong and not recipe.conditional:
            metric = zoo.metric(name.partition("@")[0])
            if metric.needs_features and metric.needs_labels:
                yield ValidationIssue((), f"scores '{name}', which needs conditional: true")
    for until in recipe.train.conditions:
        section = ("train", "until")
        name = until.metric.partition("@")[0]
        better = zoo.metric(name).better if name in zoo.metrics else None
        wrong_way = wrong_threshold(until.metric, until.below, until.above, zoo)
        if until.metric not in recipe.evaluate.metrics:
            yield ValidationIssue(section, f"waits for '{until.metric}', which is not in evaluate.metrics", listed)
        elif wrong_way:
            yield ValidationIssue(section, wrong_way)
        elif until.patience is not None and better == "neither":
            yield ValidationIssue(section, f"waits for '{until.metric}' to improve, but it has no better direction")
    if (best := recipe.train.keep_best) is not None:
        if best not in recipe.evaluate.metrics:
            yield ValidationIssue(("train", "keep_best"), f"is '{best}', which is not in evaluate.metrics", listed)
        elif (name := best.partition("@")[0]) in zoo.metrics and zoo.metric(name).better == "neither":
            yield ValidationIssue(("train", "keep_best"), f"is '{best}', which has no better direction")


NOT_OPTIONS = ("params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize")
"""Parameters of torch's constructors that ganzoo sets itself; ``lr`` comes from the recipe, which must set it."""

SCHEDULED = ("lr", "betas")
"""Options that may change during training."""

REFUSED: Mapping[str, str] = {
    "lbfgs": "it evaluates the loss several times in each step",
    "sparseadam": "it only takes sparse gradients",
}

Share = Annotated[float, Field(ge=0, lt=1)]
LearningRate = Annotated[float, Field(gt=0, le=1e38)]  # beyond that, single precision overflows
OWN = ("decay", "lazy_scaling")
"""ganzoo's own options, which torch's classes do not know."""
BOUNDS: Mapping[str, Any] = {
    "alpha": Share,
    "beta2_decay": Annotated[float, Field(ge=-10, le=0)],
    "betas": tuple[Share, Share],
    "d": Annotated[float, Field(gt=0, le=1e6)],
    "dampening": Annotated[float, Field(ge=0, le=1)],
    "initial_accumulator_value": Annotated[float, Field(ge=0, le=1e6)],
    "momentum": Share,
    "ns_steps": Annotated[int, Field(ge=1, le=99)],
    "rho": Share,
    "weight_decay": Annotated[float, Field(ge=0, le=1e6)],
}
"""Types and bounds of well-known options, which torch's annotations do not state."""
ANY_NUMBER = Annotated[float, Field(ge=-1e12, le=1e12)]
NOT_NEGATIVE = Annotated[float, Field(ge=0, le=1e12)]


@cache
def known() -> Mapping[str, type[torch.optim.Optimizer]]:
    """Every optimizer that a recipe may name, by its name in lower case."""
    optimizers = {}
    for name, kind in vars(torch.optim).items():
        if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer:
            step = inspect.signature(kind.step).parameters
            needs_closure = "closure" in step and step["closure"].default is inspect.Parameter.empty
            if not needs_closure and name.lower() not in REFUSED:
                optimizers[name.lower()] = kind
    return optimizers


def canonical(name: str) -> str:
    """An optimizer's name as resolved recipes write it: ``adamw`` for ``AdamW`` and ``adam-w``.

    Raises:
        GanzooError: torch has no such optimizer, or it does not work with phases.
    """
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in REFUSED:
        raise GanzooError(f"The optimizer '{name}' cannot train a GAN here: {REFUSED[plain]}.", "Try 'adam'.")
    if plain not in known():
        raise unknown("optimizer", name, known())
    return plain


@cache
def optimizer_options(name: str) -> Options:
    """The options that a recipe may give an optimizer: ``lr``, ``decay``, ``lazy_scaling``, and those of torch's class.

    Args:
        name: As ``canonical`` gives it.
    """
    kind = known()[name]
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        inspect.Parameter("lr", keyword, annotation=LearningRate),
        inspect.Parameter("decay", keyword, default="constant", annotation=Literal["constant", "linear", "cosine"]),
        inspect.Parameter("lazy_scaling", keyword, default=False, annotation=bool),
    ]
    try:
        hints = get_type_hints(vars(kind)["__init__"])
    except (NameError, TypeError):  # names that torch imports for type checkers only
        hints = {}
    for parameter in inspect.signature(kind).parameters.values():
        if parameter.name not in NOT_OPTIONS:
            annotation = BOUNDS.get(parameter.name) or _type(parameter.default, hints.get(parameter.name))
            parameters.append(parameter.replace(kind=keyword, annotation=annotation))

    def factory(**options: Any) -> None:
        """Stands in for torch's class, with annotations that can be checked."""

    factory.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Options(f"optimizer '{name}'", factory)


def check_optimizer(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with defaults filled in.

    Booleans that are false, as by default, are left out even if they were given: versions of torch without them can
    still read the recipe, and its digest does not change.

    Raises:
        ValidationFailed: An option is unknown, missing, or of the wrong type.
    """
    known = optimizer_options(name)
    return {k: v for k, v in known.check(options).items() if v is not False or known.defaults.get(k) is not False}


def _type(default: Any, hint: Any) -> Any:
    """A type that a recipe's value can be checked against, from a default and torch's annotation."""
    if isinstance(default, bool):
        return bool
    if isinstance(default, int) and hint is int:
        return Annotated[int, Field(ge=0, le=10**9)]
    if isinstance(default, (int, float)):
        return NOT_NEGATIVE if default >= 0 else ANY_NUMBER
    if isinstance(default, (tuple, list)):
        items = [NOT_NEGATIVE | None if item is None else _type(item, None) for item in default]
        return tuple[tuple(items)]  # type: ignore[misc]
    if isinstance(default, str) or str in get_args(hint):
        return Annotated[str, Field(max_length=100)] | None
    return ANY_NUMBER | None


HEADLINES: Final[Mapping[str, tuple[str, ...]]] = {
    "mnist": ("fid@mnist-ae", "fid@mnist-cnn", "coverage@mnist-cnn", "recall@mnist-cnn"),
    "fashion-mnist": (
        "fid@fashion-mnist-ae",
        "fid@fashion-mnist-cnn",
        "coverage@fashion-mnist-cnn",
        "recall@fashion-mnist-cnn",
    ),
    "stacked-mnist": ("modes@stacked-mnist-cnn", "kl@stacked-mnist-cnn"),
    "ring": ("modes@ring", "kl@ring", "quality@ring"),
    "grid": ("modes@grid", "kl@grid", "quality@grid"),
}
"""The headline metrics of each dataset. Metrics with an extractor that is not installed are left out.

Coverage and recall use the classifier's features. The battery and the blind test of docs/metrics.md measured them with
the autoencoder's instead, so their findings on coverage and recall may not hold for these.
"""
OF_OTHERS: Final = ("fid", "coverage", "recall")
"""The headline metrics of a dataset that is not listed, computed with the first extractor that was fitted to it."""


def headline(dataset: str, zoo: Zoo) -> tuple[str, ...]:
    """The headline metrics of a dataset, in order.

    Args:
        dataset: Its name.
        zoo: Where metrics and extractors are looked up.

    Returns:
        Names such as ``fid@mnist-cnn``; empty if no installed extractor was fitted to the dataset.
    """
    listed = HEADLINES.get(dataset) or [
        f"{metric}@{extractor}" for extractor in list(extractors_of(dataset, zoo))[:1] for metric in OF_OTHERS
    ]
    parts = {name: name.split("@") for name in listed}
    return tuple(name for name, (metric, where) in parts.items() if metric in zoo.metrics and where in zoo.extractors)


def required_headline(dataset: str, zoo: Zoo) -> tuple[str, ...]:
    """The headline metrics of a dataset, see ``headline``.

    Raises:
        GanzooError: No installed extractor was fitted to it.
    """
    metrics = headline(dataset, zoo)
    if not metrics:
        raise GanzooError(f"No installed extractor was fitted to '{dataset}'.", how_to_score(dataset, zoo))
    return metrics


def extractors_of(dataset: str, zoo: Zoo) -> Iterator[str]:
    """The installed extractors that were fitted to a dataset, in the order in which they were registered."""
    for entry in zoo.extractors.in_order():
        with suppress(GanzooError):  # `how_to_score` reports why
            if dataset in entry.domains:
                yield entry.name


def how_to_score(dataset: str, zoo: Zoo) -> str:
    """What to install or to name in order to score samples of a dataset, in words."""
    fitting = list(extractors_of(dataset, zoo))
    if fitting:
        return f"Use an extractor that was fitted to it: {', '.join(fitting)}."
    for_any, broken = "", ""
    for entry in zoo.extractors.in_order():
        try:
            if not entry.domains:
                for_any = for_any or f", or name an extractor for any images, such as fid@{entry.name}"
        except GanzooError as error:
            broken += f" {error}"
    return f"Install a plugin whose extractor was fitted to it{for_any}.{broken}"
