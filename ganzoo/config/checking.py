"""Checks a recipe against the installed plugins: its components' options, optimizers, metrics, and the headline."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cache, partial
from typing import Annotated, Any, Final, Literal

import torch
from pydantic import Field, ValidationError

from ganzoo.api.objective import Objective
from ganzoo.config.schema import Component, Recipe, ScheduleConfig, initial
from ganzoo.errors import GanzooError, unknown
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import ALL, HEADLINE, NETWORK_KINDS, Options
from ganzoo.registry.strict import KeyPath, ValidationFailed, ValidationIssue, issues, meant, without_echoes

SECTIONS: Final[Mapping[str, str]] = {  # the key of a recipe for each kind
    **dict.fromkeys(NETWORK_KINDS, "networks"),
    "loss": "loss",
    "regularizer": "regularizers",
    "augmentation": "augmentation",
    "dataset": "dataset",
    "prior": "prior",
    "tracker": "trackers",
}


def against_zoo(recipe: Recipe, zoo: Zoo) -> tuple[Recipe, list[ValidationIssue]]:
    """The recipe with every component's options filled in, and what is wrong with it."""
    mistakes: list[ValidationIssue] = []
    fill = partial(_filled, zoo=zoo, mistakes=mistakes)
    checked: dict[str, Any] = {}
    for path, kind, component in recipe.components():
        section, filled = str(path[0]), fill(component, kind, path)
        checked[section] = filled if len(path) == 1 else (*checked.get(section, ()), filled)
    roles: Mapping[str, str] = Objective.roles
    if not any(issue.path[0] == "loss" for issue in mistakes):  # otherwise its networks are unknown
        try:
            roles = _roles(checked["loss"], zoo)
            mistakes += _wrong_roles(recipe, roles)
        except GanzooError as error:
            mistakes.append(ValidationIssue.of(error, "loss"))
    checked["networks"] = {
        role: fill(recipe.networks[role], kind, ("networks", role))
        for role, kind in roles.items()
        if role in recipe.networks
    }
    checked["optimizers"] = {
        role: fill(one, "optimizer", ("optimizers", role)) for role, one in recipe.optimizers.items()
    }
    # `headline` is expanded here, since it depends on the dataset and on the plugins.
    metrics = [
        name
        for requested in recipe.evaluate.metrics
        for name in (headline(recipe.dataset.name, zoo) if requested == HEADLINE else (requested,))
    ]
    checked["evaluate"] = recipe.evaluate.model_copy(update={"metrics": tuple(dict.fromkeys(metrics))})
    recipe = recipe.model_copy(update=checked)
    return recipe, [*mistakes, *_wrong_metrics(recipe, zoo)]


def _roles(loss: Component, zoo: Zoo) -> Mapping[str, str]:
    roles = getattr(zoo.losses.get(loss.name).prototype(loss.initial_options()), "roles", Objective.roles)
    if not isinstance(roles, Mapping) or not set(roles.values()) <= set(NETWORK_KINDS):
        raise GanzooError(
            f"The loss '{loss.name}' has roles = {roles!r}.",
            f"Set roles in its class, to a mapping from names to {', '.join(NETWORK_KINDS)}.",
        )
    return roles


def _wrong_roles(recipe: Recipe, roles: Mapping[str, str]) -> list[ValidationIssue]:
    players = f"The loss '{recipe.loss.name}' trains {', '.join(roles)}."
    hints = {role: meant(role, roles) for role in sorted(recipe.networks.keys() - roles.keys())}
    missing = [
        ValidationIssue(("networks",), f"needs the key '{role}'", players, role)
        for role in sorted(roles.keys() - recipe.networks.keys())
    ]
    unknown_ones = [
        ValidationIssue(("networks",), f"has no key '{role}'", players if hint.startswith("Known") else hint, role)
        for role, hint in hints.items()
    ]
    return without_echoes([*missing, *unknown_ones])


def _filled(component: Component, kind: str, path: KeyPath, zoo: Zoo, mistakes: list[ValidationIssue]) -> Component:
    # A schedule's start and end must each be a valid value of its option.
    try:
        if kind != "optimizer":
            entry = zoo.registry(kind).get(component.name)
            may_change = {"regularizer": ("weight",), "augmentation": getattr(entry.factory, "scheduled", ())}
            check, scheduled = entry.options.check, may_change.get(kind, ())
        else:
            component = component.model_copy(update={"name": canonical(component.name)})
            check, scheduled = partial(check_optimizer, component.name), ("lr", "betas")
        given = {
            key: _with_schedules(value, (key,)) if key in scheduled else value
            for key, value in component.options.items()
        }
        start = {key: initial(value) for key, value in given.items()}
        changing = {key: value for key, value in given.items() if value != start[key]}
        options = check(start)
        if changing:
            check({key: initial(value, at_end=True) for key, value in given.items()})
    except ValidationFailed as error:
        mistakes += [issue.below(*path) for issue in error.issues]
        return component
    except GanzooError as error:
        mistakes.append(_unknown(component.name, kind, path, zoo) or ValidationIssue.of(error, *path))
        return component
    if kind == "optimizer" and "lr" in changing and options["decay"] != "constant":
        mistakes.append(ValidationIssue(path, "has both a schedule of lr and a decay", "Remove one of the two."))
    return component.model_copy(update={"options": {**options, **changing}})


def _unknown(name: str, kind: str, path: KeyPath, zoo: Zoo) -> ValidationIssue | None:
    if kind == "augmentation" and name.lower() == "none":
        return ValidationIssue(path, f"Unknown augmentation '{name}'", "Write null for no augmentation.", whole=True)
    for other, section in SECTIONS.items():
        is_elsewhere = kind in SECTIONS and section != SECTIONS[kind] and name in zoo.registry(other)
        if is_elsewhere and name not in zoo.registry(kind).aliases:
            is_one, is_none = (f"{'an' if one[0] in 'aeiou' else 'a'} {one}" for one in (other, kind))
            return ValidationIssue(
                path, f"'{name}' is {is_one}, not {is_none}", f"Put it under '{section}'.", whole=True
            )
    return None


def _with_schedules(value: Any, path: KeyPath) -> Any:
    if isinstance(value, (list, tuple)):
        return tuple(_with_schedules(item, (*path, index)) for index, item in enumerate(value))
    if isinstance(value, dict):
        try:
            return ScheduleConfig.model_validate(value)
        except ValidationError as error:
            raise ValidationFailed([issue.below(*path) for issue in issues(error, ScheduleConfig, value)]) from error
    return value


def wrong_metric(name: str, zoo: Zoo, *more: str) -> GanzooError | None:
    """What is wrong with a name such as ``fid@mnist-cnn``; ``more`` are words that may stand for a metric."""
    metric, at, extractor = name.partition("@")
    metrics = [*more, *(entry.name for entry in zoo.metrics)]
    if metric in zoo.metrics and not zoo.metric(metric).needs_features:
        needless = GanzooError(f"The metric '{metric}' needs no extractor (in '{name}').", f"Write {metric}.")
        return needless if at else None
    if metric == ALL and at and ALL not in metrics:
        return GanzooError(
            f"'{name}' only works with `ganzoo eval` and `ganzoo.evaluate`.",
            "Name each metric in a recipe, or write headline.",
        )
    if metric not in metrics and (metric or extractor):
        return unknown("metric", metric, metrics, zoo.metrics.hint, zoo.metrics.aliases)
    if not extractor:
        return GanzooError(
            f"The metric '{name}' does not name an extractor.", "Write <metric>@<extractor>, such as fid@mnist-cnn."
        )
    if extractor not in zoo.extractors:
        registry = zoo.extractors
        return unknown("extractor", extractor, [one.name for one in registry], registry.hint, registry.aliases)
    return None


def wrong_threshold(metric: str, below: float | None, above: float | None, zoo: Zoo) -> str:
    """Why no score should be awaited ``below`` or ``above`` a number, as a predicate; empty if one may."""
    better = _better(metric, zoo)
    if below is not None and better in ("higher", "neither"):
        return f"waits for '{metric}' to fall, but lower is not better for it"
    if above is not None and better in ("lower", "neither"):
        return f"waits for '{metric}' to rise, but higher is not better for it"
    return ""


def _better(metric: str, zoo: Zoo) -> str | None:
    name = metric.partition("@")[0]
    return zoo.metric(name).better if name in zoo.metrics else None


def _wrong_metrics(recipe: Recipe, zoo: Zoo) -> Iterator[ValidationIssue]:
    metrics = recipe.evaluate.metrics
    listed = f"It lists {', '.join(metrics)}." if metrics else ""
    for index, name in enumerate(metrics):
        if error := wrong_metric(name, zoo):
            yield ValidationIssue.of(error, "evaluate", "metrics", index)
        elif zoo.metric(name.partition("@")[0]).needs_labels and not recipe.conditional:
            yield ValidationIssue((), f"scores '{name}', which needs conditional: true")
    judged = [
        ("until", f"waits for '{one.metric}'", one.metric, one.below, one.above) for one in recipe.train.conditions
    ]
    if (best := recipe.train.keep_best) is not None:
        judged.append(("keep_best", f"is '{best}'", best, None, None))
    for key, verb, name, below, above in judged:
        if name not in metrics:
            yield ValidationIssue(("train", key), f"{verb}, which is not in evaluate.metrics", listed)
        elif wrong_way := wrong_threshold(name, below, above, zoo):
            yield ValidationIssue(("train", key), wrong_way)
        elif _better(name, zoo) == "neither":
            yield ValidationIssue(("train", key), f"{verb}, which has no better direction")


NOT_OPTIONS = ("params", "lr", "foreach", "fused", "capturable", "differentiable", "maximize")  # set by ganzoo itself
REFUSED: Mapping[str, str] = {
    "lbfgs": "it evaluates the loss several times in each step",
    "sparseadam": "it only takes sparse gradients",
}
Share = Annotated[float, Field(ge=0, lt=1)]
OWN = ("decay", "lazy_scaling")  # unknown to torch's classes
BOUNDS: Mapping[str, Any] = {  # torch's annotations do not state them
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
NOT_NEGATIVE = Annotated[float, Field(ge=0, le=1e12)]


@cache
def known() -> Mapping[str, type[torch.optim.Optimizer]]:
    """Every optimizer that a recipe may name, by its name in lower case."""
    named = {
        one.__name__.lower(): one
        for one in vars(torch.optim).values()
        if isinstance(one, type) and issubclass(one, torch.optim.Optimizer)
    }
    return {name: one for name, one in named.items() if name not in (*REFUSED, "optimizer")}


def canonical(name: str) -> str:
    """An optimizer's name as resolved recipes write it: ``adamw`` for ``AdamW`` and ``adam-w``."""
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in REFUSED:
        raise GanzooError(f"The optimizer '{name}' cannot train a GAN here: {REFUSED[plain]}.", "Try 'adam'.")
    if plain not in known():
        raise unknown("optimizer", name, known())
    return plain


@cache
def optimizer_options(name: str) -> Options:
    """An optimizer's options in a recipe: ``lr``, ``decay``, ``lazy_scaling``, and those of torch's class."""
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters = [
        # Beyond 1e38, single precision overflows.
        inspect.Parameter("lr", keyword, annotation=Annotated[float, Field(gt=0, le=1e38)]),
        inspect.Parameter("decay", keyword, default="constant", annotation=Literal["constant", "linear", "cosine"]),
        inspect.Parameter("lazy_scaling", keyword, default=False, annotation=bool),
    ]
    for parameter in inspect.signature(known()[name]).parameters.values():
        if parameter.name not in NOT_OPTIONS:
            bounds = BOUNDS.get(parameter.name) or _type(parameter.default)
            parameters.append(parameter.replace(kind=keyword, annotation=bounds))

    def factory(**options: Any) -> None:
        """Stands in for torch's class, with annotations that can be checked."""

    factory.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return Options(f"optimizer '{name}'", factory)


def check_optimizer(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """The options with defaults filled in; booleans left false are omitted, since not every torch has them."""
    known = optimizer_options(name)
    return {k: v for k, v in known.check(options).items() if v is not False or known.defaults.get(k) is not False}


def _type(default: Any) -> Any:
    if isinstance(default, bool):
        return bool
    if isinstance(default, (int, float)):
        return NOT_NEGATIVE if default >= 0 else Annotated[float, Field(ge=-1e12, le=1e12)]
    if isinstance(default, tuple):
        return tuple[tuple(map(_type, default))]  # type: ignore[misc]
    return NOT_NEGATIVE | Annotated[str, Field(max_length=100)] | None


# Metrics with an extractor that is not installed are left out. Coverage and recall use the classifier's features; the
# battery and the blind test of docs/metrics.md used the autoencoder's, so their findings may not hold here.
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


def headline(dataset: str, zoo: Zoo) -> tuple[str, ...]:
    """The headline metrics of a dataset, by default with the first extractor fitted to it, or else one for any images.

    In the latter, memorisation is one of them, since a folder may have few pictures. Empty if there is no extractor.
    """
    metrics = ["fid", "coverage", "recall"]
    extractor = next(extractors_of(dataset, zoo), None)
    if extractor is None:
        extractor = extractor_for_any(zoo)
        metrics.append("memorisation")
    by_default = [f"{metric}@{extractor}" for metric in metrics if extractor]
    return tuple(name for name in HEADLINES.get(dataset, by_default) if wrong_metric(name, zoo) is None)


def required_headline(dataset: str, zoo: Zoo) -> tuple[str, ...]:
    """The headline metrics of a dataset; an error if no installed extractor is for it."""
    if metrics := headline(dataset, zoo):
        return metrics
    raise GanzooError(f"No installed extractor was fitted to '{dataset}'.", how_to_score(dataset, zoo))


def extractors_of(dataset: str, zoo: Zoo) -> Iterator[str]:
    """The installed extractors that were fitted to a dataset, in the order in which they were registered."""
    for entry in zoo.extractors.in_order():
        with suppress(GanzooError):  # reported when it is named
            if dataset in entry.domains:
                yield entry.name


def extractor_for_any(zoo: Zoo) -> str | None:
    """The first installed extractor for any images whose weights need no download."""
    for entry in zoo.extractors.in_order():
        with suppress(GanzooError):
            if not entry.domains and not getattr(entry.factory, "downloads", False):
                return entry.name
    return None


def how_to_score(dataset: str, zoo: Zoo) -> str:
    """What to install or to name in order to score samples of a dataset, in words."""
    if fitting := list(extractors_of(dataset, zoo)):
        return f"Use an extractor that was fitted to it: {', '.join(fitting)}."
    for_any = extractor_for_any(zoo)
    named = f", or name an extractor for any images, such as fid@{for_any}" if for_any else ""
    return f"Install a plugin whose extractor was fitted to it{named}."
