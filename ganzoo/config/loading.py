"""From a YAML file to a checked recipe: find the file, parse it, apply overrides, validate it, look up its names."""

from __future__ import annotations

import copy
import logging
import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ganzoo.api.dataset import Dataset
from ganzoo.config.checking import SECTIONS, against_zoo, canonical, optimizer_options
from ganzoo.config.schema import Recipe
from ganzoo.errors import GanzooError, nearest, one_line
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.registry.registry import OWN_KEYS, Entry, check_file_name
from ganzoo.registry.strict import KeyPath, ValidationFailed, ValidationIssue, issues

logger = logging.getLogger(__name__)
OWN_PICTURES = "image-folder"  # the dataset that is used if a recipe names a path
FOR_PICTURES = "pictures"  # the recipe that trains on them if none is named


def load_recipe(source: str | Path, zoo: Zoo, overrides: Sequence[str] = (), *, scored: bool = True) -> Recipe:
    """A recipe by its name or YAML file, with overrides such as ``a.b=c``, checked and with every option filled in.
    If not ``scored``, what is wrong with its metrics is only a warning.
    """
    path = _find(source, zoo)
    data = strict.read_mapping(path)
    check_file_name("recipe", path)
    return _recipe_of(data, path.stem, path, zoo, overrides, scored=scored)


def parse_recipe(text: str, name: str, zoo: Zoo, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe from YAML text instead of a file; see ``load_recipe``."""
    return _recipe_of(strict.parse_mapping(text, f"recipe '{name}'"), name, f"recipe '{name}'", zoo, overrides)


def recipe_for(data: Path, method: str, zoo: Zoo, overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that trains a method on a folder or zip archive of pictures: ``ganzoo run dcgan --data ./photos``.
    ``method`` may lack its dataset; of several recipes named after it, the one for MNIST is used.
    """
    for override in overrides:
        if Override.parse(override).path in (("dataset",), ("dataset", "name"), ("dataset", "path")):
            raise GanzooError(
                f"--data already chooses the pictures, so --set {override} cannot.", "Leave one of the two out."
            )
    place = Path(os.path.expanduser(data)).absolute()  # noqa: PTH111 - pathlib raises if there is no such user
    if not place.exists():
        raise GanzooError(f"No such file or folder: {data}.", "Check --data.")
    best = [name for name in (method, f"{method}-mnist") if name in zoo.recipes]
    named = [name for name in (f"{method}-{entry.name}" for entry in zoo.datasets) if name in zoo.recipes]
    source = best[0] if best else named[0] if len(named) == 1 else method
    made_for = _dataset_name(strict.read_mapping(_find(source, zoo)))
    recipe = load_recipe(source, zoo, [instead_of(made_for, str(place), zoo), *overrides])
    if not takes_path(made_for, zoo):
        logger.warning(
            "The settings of the recipe '%s' were chosen on the dataset '%s' and may fail on other pictures. `ganzoo "
            "run --data %s` takes settings for any pictures.",
            *(recipe.name, made_for, shlex.quote(str(data))),
        )
    without_dataset = min((recipe.name.removesuffix(f"-{entry.name}") for entry in zoo.datasets), key=len)
    slug = re.sub(r"[^a-z0-9]+", "-", place.stem.lower())[:60].strip("-") or "pictures"
    return recipe.model_copy(
        update={
            "name": f"{without_dataset}-{slug}",
            "summary": f"recipe {recipe.name} on {one_line(place.name)[:100]}",
        }
    )


def takes_path(dataset: Any, zoo: Zoo) -> bool:
    """Whether a dataset, given by name, consists of the user's own pictures: it has an option ``path``."""
    return dataset in zoo.datasets and "path" in zoo.datasets.get(dataset).options.types


def needs_pictures(recipe: str, zoo: Zoo) -> bool:
    """Whether a registered recipe is for the user's own pictures, which it cannot name."""
    data = strict.read_mapping(zoo.recipes.get(recipe).create())
    options = data["dataset"] if isinstance(data.get("dataset"), dict) else {}
    return takes_path(_dataset_name(data), zoo) and not options.get("path")


def instead_of(made_for: Any, dataset: str, zoo: Zoo) -> str:
    """The override that gives a recipe another dataset, by name or path; a recipe for pictures keeps its options."""
    if not takes_path(made_for, zoo) or dataset in zoo.datasets:
        return f"dataset={strict.quoted(dataset)}"
    return f"dataset.path={strict.quoted(os.path.abspath(os.path.expanduser(dataset)))}"  # noqa: PTH100, PTH111


def _dataset_name(recipe: Mapping[str, Any]) -> Any:
    dataset = recipe.get("dataset")
    return dataset.get("name") if isinstance(dataset, dict) else dataset


def find_dataset(name: str | Path, zoo: Zoo) -> tuple[Entry[Dataset], dict[str, Any]]:
    """A registered dataset, or the user's own pictures at a path as a recipe reads them; and its options."""
    known = str(name) in zoo.datasets or not os.path.exists(name)  # noqa: PTH110 - False for a name that is too long
    dataset = _with_own_pictures({"dataset": str(name) if known else os.path.abspath(name)}, zoo)["dataset"]  # noqa: PTH100
    if dataset == OWN_PICTURES:
        raise GanzooError(
            f"'{dataset}' means your own pictures.", "Give their folder or zip archive, such as ./photos."
        )
    if isinstance(dataset, str):
        return zoo.datasets.get(dataset), {}
    if known:
        raise GanzooError(f"No such file or folder: {name}.", "Give a folder of pictures, or a dataset's name.")
    return zoo.datasets.get(dataset.pop("name")), dataset


def _find(source: str | Path, zoo: Zoo) -> Path:
    if isinstance(source, str) and source in zoo.recipes:
        return zoo.recipes.get(source).create()
    path = Path(source)
    if os.path.isdir(path):  # noqa: PTH112 - False for a name that is too long
        word = shlex.quote(str(source))
        if (path / "run.json").exists():
            raise GanzooError(f"{source} is a run folder.", f"`ganzoo run --resume {word}` resumes it.")
        raise GanzooError(
            f"{source} is a folder, not a recipe.",
            f"`ganzoo run --data {word}` trains on the pictures in it.",
        )
    if isinstance(source, Path) or path.suffix in (".yaml", ".yml") or os.path.isfile(path):  # noqa: PTH113 - as above
        return path
    for file in (f"{source}.yaml", f"{source}.yml"):
        if os.path.isfile(file):  # noqa: PTH113 - as above
            raise GanzooError(f"Unknown recipe '{source}'.", f"Did you mean the file {file}?")
    return zoo.recipes.get(source).create()  # raises, naming the nearest


def _recipe_of(
    data: dict[str, Any], name: str, place: str | Path, zoo: Zoo, overrides: Sequence[str], *, scored: bool = True
) -> Recipe:
    parsed = [Override.parse(text) for text in overrides]
    recipe, mistakes = _checked(apply_overrides(data, parsed, zoo), name, zoo)
    if recipe is not None and not scored:
        for issue in [issue for issue in mistakes if issue.path[:2] == ("evaluate", "metrics")]:
            logger.warning("%s: %s", place, issue.sentence("the recipe"))
            mistakes.remove(issue)
    if recipe is not None and not mistakes:
        return recipe
    # If the file alone is not a recipe, not all of its own mistakes are known.
    unchanged, own = _checked(data, name, zoo) if parsed else (None, [])
    sentences = []
    for issue in mistakes:
        place_of_key = issue.path if issue.key is None else (*issue.path, issue.key)
        to_blame = [override for override in parsed if override.concerns(place_of_key)][-1:]
        if not to_blame and unchanged is not None and issue not in own:
            # The override that made the section that lacks a key; or else all, since some parts do not fit together.
            to_blame = [override for override in parsed if override.concerns(issue.path)][-1:] or parsed
        culprit = " ".join(f"--set {override.text}" for override in to_blame) or str(place)
        sentences.append(f"{culprit}: {_with_place(issue, unchanged).sentence('the recipe')}")
    raise ValidationFailed(mistakes, sentences)


def _checked(data: dict[str, Any], name: str, zoo: Zoo) -> tuple[Recipe | None, list[ValidationIssue]]:
    data = _with_own_pictures(data, zoo)
    named = ValidationIssue((), "has no key 'name'", "A recipe takes its name from its file.", "name")
    mistakes = [named] if "name" in data else []
    try:
        recipe = Recipe.model_validate({**data, "name": name})
    except ValidationError as error:
        return None, [*mistakes, *issues(error, Recipe, data, filled_in=("name",))]
    recipe, more = against_zoo(recipe, zoo)
    return recipe, [*mistakes, *more]


def _with_own_pictures(data: dict[str, Any], zoo: Zoo) -> dict[str, Any]:
    dataset, name = data.get("dataset"), _dataset_name(data)
    if not isinstance(name, str) or name in zoo.datasets or OWN_PICTURES not in zoo.datasets:
        return data
    if "/" not in name and os.sep not in name and not name.startswith((".", "~")) and name[-4:].lower() != ".zip":
        return data
    options = dataset if isinstance(dataset, dict) else {}
    path = os.path.abspath(os.path.expanduser(name))  # noqa: PTH100, PTH111 - pathlib keeps the ".." of a path
    return {**data, "dataset": {"size": "auto", "channels": "auto", **options, "name": OWN_PICTURES, "path": path}}


def _with_place(issue: ValidationIssue, recipe: Recipe | None) -> ValidationIssue:
    """The issue, with a hint if the recipe has its unknown key elsewhere: ``lr`` is ``optimizers.default.lr``."""
    is_unknown = issue.verdict.startswith("has no key") and issue.remedy.startswith("Known: ")
    if issue.key is None or recipe is None or not is_unknown:
        return issue
    words = (issue.key, strict.SYNONYMS.get(issue.key))
    places = [".".join(map(str, path)) for path, _ in strict.walk(recipe.plain()) if path and path[-1] in words]
    return replace(issue, remedy=f"Did you mean {' or '.join(map(repr, places[:3]))}?") if places else issue


@dataclass(frozen=True)
class Override:
    """One override, ``a.b=c``."""

    text: str  # as given
    path: tuple[str, ...]  # keys and list indices, as text
    value: Any  # what to put there

    @classmethod
    def parse(cls, text: str) -> Override:
        """Parse ``a.b=c``, where c is YAML."""
        dotted, equals, value = text.partition("=")
        path = tuple(key.strip() for key in dotted.split("."))
        if not equals or not all(path) or len(path) > strict.MAX_DEPTH:
            raise GanzooError(f"--set {text:.100} must have the form a.b=c.", "For example: --set train.images=100000.")
        return cls(text, path, strict.parse(value, f"--set {text}"))

    def concerns(self, place: KeyPath) -> bool:
        """Whether it may have caused a mistake at ``place``: one of the two paths begins with the other."""
        shared = min(len(place), len(self.path))
        return shared > 0 and tuple(map(str, place[:shared])) == self.path[:shared]


def names_trackers(overrides: Sequence[str]) -> bool:
    """Whether overrides replace the whole list of trackers, so that no recipe's is left."""
    return any(Override.parse(override).path == ("trackers",) for override in overrides)


def apply_overrides(data: dict[str, Any], overrides: Sequence[Override], zoo: Zoo) -> dict[str, Any]:
    """A recipe's mapping with overrides applied in order. A new name drops the old component's options, except those
    that an earlier override set, and those that both share (see ``_kept``).
    """
    data = copy.deepcopy(data)
    for index, override in enumerate(overrides):
        parents, last = override.path[:-1], override.path[-1]
        inner: Any = data
        for depth in range(1, len(override.path)):
            inner = _enter(inner, override, override.path[:depth])
        at = _at(inner, override, last)
        if last == "name" and parents and inner.get("name", override.value) != override.value:
            depth = len(parents)
            earlier = [other.path for other in overrides[:index] if len(other.path) > depth]
            kept = {path[depth] for path in earlier if path[:depth] == parents}.union(_kept(override, zoo))
            for option in inner.keys() - kept:
                del inner[option]
        inner[at] = override.value
    return data


def _enter(inner: Any, override: Override, path: tuple[str, ...]) -> Any:  # created if missing
    *parents, key = path
    at = _at(inner, override, key)
    if isinstance(inner, dict) and key not in inner:
        if parents == ["networks"]:
            raise GanzooError(f"--set {override.text}: networks has no key '{key}'.", nearest(key, inner))
        if parents == ["optimizers"]:
            # A role without its own settings starts from the default ones, which applied to it so far.
            inner[key] = copy.deepcopy(inner.get("default", {}))
        else:
            inner[key] = {"name": "gaussian"} if path == ("prior",) else {}
    value = inner[at]
    if value is None:
        value = inner[at] = {}
    elif isinstance(value, str) and path[0] in (*SECTIONS.values(), "optimizers"):
        value = inner[at] = {"name": value}
    elif isinstance(value, str) and path == ("train", "init_from"):
        value = inner[at] = {"source": value}
    if not isinstance(value, (dict, list)):
        raise GanzooError(f"--set {override.text}: {'.'.join(path)} is a single value, so it has no keys.")
    return value


def _at(inner: Any, override: Override, key: str) -> Any:
    if not isinstance(inner, list):
        return key
    if not key.isdecimal() or len(key) > 9 or int(key) >= len(inner):
        held = f"a list of {len(inner)}" if inner else "an empty list"
        raise GanzooError(f"--set {override.text}: '{key}' is not an index of {held}.", "Indices start at 0.")
    return int(key)


def _kept(override: Override, zoo: Zoo) -> Iterable[str]:
    """The keys that mean the same under the new name as under the old one."""
    section, name = override.path[0], str(override.value)
    with suppress(GanzooError):  # an unknown name is refused later, with its place
        if section == "prior":
            return zoo.priors.get(name).options.types
        if section == "optimizers":
            return optimizer_options(canonical(name)).types
    return OWN_KEYS.get("generator" if section == "networks" else section, ())
