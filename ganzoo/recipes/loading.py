"""Recipes: one YAML file that names everything a training needs, refused before it starts where anything is wrong."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError, model_validator

from ganzoo.api.priors import GaussianPrior, Prior
from ganzoo.errors import GanzooError, unknown
from ganzoo.recipes import overrides as dotted_overrides
from ganzoo.recipes.overrides import Override
from ganzoo.recipes.schema import (
    FOREIGN_EXTRACTORS,
    Component,
    EvaluateConfig,
    NetworkConfig,
    OptimizerConfig,
    PhaseOverride,
    Section,
    TrainConfig,
    Until,
    combination,
)
from ganzoo.registry import strict_yaml
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import check_name
from ganzoo.registry.validation import Complaint, Refused, complaints

__all__ = [
    "Component",
    "EvaluateConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "PhaseOverride",
    "Recipe",
    "TrainConfig",
    "Until",
    "load_recipe",
]


class Recipe(Section):
    """Everything a training needs.

    Attributes:
        name: The file's name without its ending.
        summary: One line.
        paper: Citation, or None.
        dataset: What real images are.
        prior: Where latent codes come from.
        conditional: Whether networks get labels.
        networks: A network for each role of the objective.
        loss: A loss on logits, or an objective with phases of its own.
        regularizers: Terms added to a player's loss.
        augmentation: A change of what the discriminator sees.
        optimizers: By role; ``default`` serves roles that are not listed.
        phases: Changes of the objective's phases, by their names.
        train: How to train.
        evaluate: How to score.
        trackers: Where else a run's events go.
    """

    name: str
    summary: Annotated[str, Field(min_length=1, max_length=200)]
    paper: Annotated[str, Field(min_length=1)] | None = None
    dataset: Component
    prior: Prior = GaussianPrior()
    conditional: bool = False
    networks: Annotated[dict[str, NetworkConfig], Field(min_length=1)]
    loss: Component
    regularizers: tuple[Component, ...] = Field((), strict=False)
    augmentation: Component | None = None
    optimizers: Annotated[dict[str, OptimizerConfig], Field(min_length=1)]
    phases: dict[str, PhaseOverride] = Field(default_factory=dict)
    train: TrainConfig
    evaluate: EvaluateConfig = Field(default_factory=lambda: EvaluateConfig.model_validate({}))
    trackers: tuple[Component, ...] = Field((), strict=False)

    @model_validator(mode="after")
    def _until_is_measured(self) -> Recipe:
        until = self.train.until
        if until is not None and until.metric not in self.evaluate.metrics:
            raise combination(f"waits for train.until.metric '{until.metric}', which evaluate.metrics does not name")
        if until is not None and self.evaluate.every is None:
            raise combination("has train.until, but evaluate.every is null, so nothing is measured before the end")
        return self

    def plain(self) -> dict[str, Any]:
        """The recipe as its file holds it: mappings, lists, text, numbers. Its name is left to the file."""
        return self.model_dump(mode="json", exclude={"name"})

    def to_yaml(self) -> str:
        """The recipe as a file that ``load_recipe`` reads back to the same."""
        return strict_yaml.dump(self.plain())

    def in_precision(self, precision: str) -> Recipe:
        """The same recipe with ``train.precision`` settled."""
        return self.model_copy(update={"train": self.train.model_copy(update={"precision": precision})})

    def components(self) -> Iterator[tuple[tuple[str | int, ...], str, Component]]:
        """Where each component stands, its kind, and the component; networks excepted."""
        yield ("dataset",), "dataset", self.dataset
        yield ("loss",), "loss", self.loss
        for index, component in enumerate(self.regularizers):
            yield ("regularizers", index), "regularizer", component
        if self.augmentation is not None:
            yield ("augmentation",), "augmentation", self.augmentation
        for index, component in enumerate(self.trackers):
            yield ("trackers", index), "tracker", component


def load_recipe(source: str | Path, zoo: Zoo, overrides: Sequence[str] = ()) -> Recipe:
    """Read and check a recipe.

    Args:
        source: A registered name, or the path of a YAML file.
        zoo: Where its names are looked up.
        overrides: Changes of the form ``a.b=c``, c being YAML.

    Returns:
        The recipe, with every option filled in.

    Raises:
        GanzooError: Anything is wrong with it, naming the file, the key and what was probably meant.
    """
    path = _find(source, zoo)
    data = strict_yaml.read_mapping(path)
    check_name("recipe", path.stem)
    parsed = [Override.parse(text) for text in overrides]
    data = dotted_overrides.apply(data, parsed)
    given = {key: value for key, value in data.items() if key != "name"}
    found = [Complaint((), "has no key 'name'", "A recipe is called as its file is.", "name")] if "name" in data else []
    recipe = None
    try:
        recipe = Recipe.model_validate({**given, "name": path.stem})
    except ValidationError as error:
        found += complaints(error, Recipe, given)
    if recipe is not None:
        checked, more = _against_zoo(recipe, zoo)
        recipe, found = recipe.model_copy(update=checked), [*found, *more]
    if recipe is None or found:
        raise Refused(found, [_in_words(complaint, path, parsed) for complaint in found])
    return recipe


def _find(source: str | Path, zoo: Zoo) -> Path:
    if isinstance(source, str) and source in zoo.recipes:
        return zoo.recipes.get(source).create()
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or isinstance(source, Path) or _is_file(path):
        return path
    raise unknown("recipe", str(source), [entry.name for entry in zoo.recipes], zoo.recipes.hint)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # too long for a name, or in a folder that may not be searched
        return False


def _in_words(complaint: Complaint, path: Path, overrides: Sequence[Override]) -> str:
    to_blame = [override for override in overrides if override.concerns(complaint.place)]
    place = f"--set {to_blame[-1].text}" if to_blame else str(path)
    return f"{place}: {complaint.sentence('the recipe')}"


def _against_zoo(recipe: Recipe, zoo: Zoo) -> tuple[dict[str, Any], list[Complaint]]:
    """Every component with its options filled in, by the recipe's fields, and what is wrong with them."""
    found: list[Complaint] = []
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
    found += _wrong_metrics(recipe, zoo)
    return {**checked, **{key: tuple(value) for key, value in lists.items()}}, found


def _filled(
    component: Component, kind: str, path: tuple[str | int, ...], zoo: Zoo, found: list[Complaint]
) -> Component:
    registry = zoo.registry(kind)
    try:
        options = registry.get(component.name).check(component.options)
    except Refused as error:
        found += [complaint.below(*path) for complaint in error.complaints]
    except GanzooError as error:
        found.append(Complaint(path, f"names the {kind} '{component.name}', which there is not", error.remedy))
    else:
        return component.model_copy(update={"options": options})
    return component


def _roles(recipe: Recipe, zoo: Zoo) -> Mapping[str, str]:
    """The networks that the objective plays with, each with the kind that provides it."""
    from ganzoo.api.objective import Objective

    factory = zoo.losses.get(recipe.loss.name).factory if recipe.loss.name in zoo.losses else None
    return factory.roles if isinstance(factory, type) and issubclass(factory, Objective) else Objective.roles


def _missing_and_extra(recipe: Recipe, roles: Mapping[str, str]) -> Iterator[Complaint]:
    players = f"The loss '{recipe.loss.name}' plays with {', '.join(roles)}."
    for role in roles:
        if role not in recipe.networks:
            yield Complaint(("networks",), f"needs the key '{role}'", players, role)
    for role in recipe.networks:
        if role not in roles:
            yield Complaint(("networks",), f"has no key '{role}'", players, role)


def _wrong_metrics(recipe: Recipe, zoo: Zoo) -> Iterator[Complaint]:
    """What is wrong with ``evaluate.metrics`` and ``train.until``: metrics and extractors come from plugins."""
    extractors = [*(entry.name for entry in zoo.extractors), *FOREIGN_EXTRACTORS]
    metrics = [entry.name for entry in zoo.metrics]
    for index, name in enumerate(recipe.evaluate.metrics):
        place = ("evaluate", "metrics", index)
        metric, _, extractor = name.partition("@")
        if not (metric and extractor):
            yield Complaint(place, f"is '{name}'", "Write <metric>@<extractor>, such as fid@mnist-cnn.")
            continue
        if metric not in metrics:
            remedy = unknown("metric", metric, metrics, zoo.metrics.hint).remedy
            yield Complaint(place, f"names an unknown metric '{metric}'", remedy)
        elif zoo.metric(metric).needs_labels and not recipe.conditional:
            yield Complaint((), f"measures '{name}', but is not conditional, so no class is ever asked for")
        if extractor not in extractors:
            remedy = unknown("extractor", extractor, extractors, zoo.extractors.hint).remedy
            yield Complaint(place, f"names an unknown extractor '{extractor}'", remedy)
    until = recipe.train.until
    waited = until.metric.partition("@")[0] if until else ""
    if until and waited in metrics and zoo.metric(waited).better != "lower":
        yield Complaint(("train", "until"), f"waits for '{until.metric}' to fall, but lower is not better there")
