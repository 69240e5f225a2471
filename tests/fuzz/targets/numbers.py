"""Every number that a user may set: options of everything registered, keys of a recipe, options of the command."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from typer.testing import CliRunner

from ganzoo import Dataset, GanzooError
from ganzoo.build import Assembly, assemble
from ganzoo.cli import app
from ganzoo.config.checking import known, optimizer_options
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.registry.registry import KINDS, NETWORK_KINDS
from ganzoo.training.trainer import Trainer
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry

BASE = "vanilla-mnist"
TINY = (
    "dataset=in-memory", "evaluate.metrics=[]", "train.until=null", "train.images=16",
    "train.batch_size=4", "train.log_every=4", "train.device=cpu", "train.engine=eager", "train.precision=fp32",
)  # fmt: skip
SMALL = {"width": 8, "widest": 16, "hidden": [8], "style": 8, "code": 4, "group": 4, "mapping_layers": 1,
         "code_width": 4, "codes": 8, "prior_width": 32, "prior_depth": 1, "labels_per_class": 2, "dim": 8}  # fmt: skip
"""Options of the networks and losses that make a training step cheap."""

NUMBERS = (0, -1, 1, 2, 3, 7, 2**31, 2**63 - 1, 2**63, 2**70, -(2**63), -(2**70), 0.0, -0.0, 0.5, 1.0, 1e-320, 1e-45,
           -1e-320, 1e39, 1e308, -1e308, math.nan, math.inf, -math.inf, 16_777_217, 10**400)  # fmt: skip
OTHERS = (True, False, None, "many", "1e400", [], [1], {}, {"start": 1e308, "end": 1e308})

KEYS = {
    "train": ("images", "batch_size", "ema", "seed", "log_every", "checkpoint_seconds"),
    "evaluate": ("every_images", "samples"),
    "phases.generator": ("repeat", "every_steps"),
    "phases.discriminator": ("repeat", "every_steps"),
    "prior": ("dim",),
}
"""Of a recipe itself."""

WITH_NUMBERS = (*NETWORK_KINDS, "loss", "regularizer", "augmentation", "prior", "tracker")

MAX_WEIGHTS, MAX_TENSORS, MAX_IMAGES = 2_000_000, 300, 64
"""What is accepted and beyond one of these is built, but not trained: it is slow, as whoever asks for it expects."""


class Place(NamedTuple):
    """One number."""

    recipe: str  # a registered recipe in which it can be set
    settings: tuple[str, ...]  # overrides before its own
    path: str
    schema: dict[str, Any]  # of its values; empty where it is not known
    listed: bool  # whether the option is a list of such numbers


class Targets:
    """Hostile numbers in every place.

    Args:
        zoo: The registries.
        run: A real run of points in the plane, for the command's options.
    """

    def __init__(self, zoo: Zoo, run: Path) -> None:
        self.zoo, self.finished = zoo, run
        self.recipes = {entry.name: load_recipe(entry.name, zoo) for entry in zoo.recipes}
        images = torch.arange(20 * 784).remainder(251).to(torch.uint8).view(20, 1, 28, 28)
        names = tuple(map(str, range(10)))
        self.dataset = Dataset("in-memory", "train", images, torch.arange(20) % 10, names, {"source": images})
        self.places = list(self._places())

    def all(self) -> dict[str, Target]:
        """By name."""
        return {"numbers": Target(self.numbers, 16), "command": Target(self.command, 2)}

    def numbers(self, random: Random, folder: Path) -> None:
        """One number of one thing, through building and a few steps of training where it is accepted."""
        place = random.choice(self.places)
        value = self._value(random, place.schema)
        if place.listed and random.random() < 0.9:
            value = [value] * random.choice((1, 2))
        recipe = load_recipe(place.recipe, self.zoo, [*place.settings, f"{place.path}={_written(value)}"])
        if recipe.dataset.name == "image-folder":
            return  # its files are another target's
        self._train(recipe)

    def command(self, random: Random, folder: Path) -> None:
        """Numeric options of the command line."""
        first, second = (str(self._value(random, {"maximum": 2**63 - 1, "minimum": 0})) for _ in range(2))
        points = np.zeros((8, 1, 2), "float32")
        np.savez(folder / "points.npz", images=points)
        arguments = random.choice(
            (
                ["sample", str(self.finished), "--n", first, "--seed", second, "--out", "x.npz"],
                ["sample", str(self.finished), "--n", "2", "--class", first, "--out", "x.npz"],
                ["sample", str(self.finished), "--n", "2", "--seed", first, "--out", "x.png"],
                ["eval", "points.npz", "--dataset", "ring", "--metric", "modes@ring", "--seed", first],
                ["eval", "points.npz", "--dataset", "ring", "--metric", "modes@ring", "--samples", first],
                ["bench", "nothing-*", "--jobs", first, "--threads", second, "--seed", second],
                ["run", BASE, "--seed", first, "--device", "meta"],
            )
        )
        result = CliRunner().invoke(app, arguments, env={"GANZOO_CACHE": str(folder / "cache")})
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        if result.exit_code:
            lines = [line.strip(" │╭╮╰╯─") for line in result.output.splitlines()]
            raise GanzooError(" ".join(line for line in lines if line) or "nothing was said")

    def _train(self, recipe: Recipe) -> None:
        """Build it, and train it where that takes a moment."""
        assembly = self._assembly(recipe)
        weights = [weight.numel() for module in (assembly.networks, assembly.objective) for weight in module.buffers()]
        weights += [weight.numel() for weight in assembly.networks.parameters()]
        repeats = [phase.repeat or 1 for phase in recipe.phases.values()]
        images = max(recipe.train.images, recipe.train.batch_size * max([1, *repeats]))
        if sum(weights) < MAX_WEIGHTS and len(weights) < MAX_TENSORS and images <= MAX_IMAGES:
            trainer = Trainer(recipe, self.zoo, dataset=self.dataset)
            for _ in range(2):
                trainer.step()
            trainer.flush()

    def _value(self, random: Random, schema: dict[str, Any]) -> Any:
        bounds = [
            schema[key] for key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") if key in schema
        ]
        beyond = [bound * factor for bound in bounds for factor in (2, 1.0000001)]
        kind = random.randrange(10)
        if kind == 0:
            return random.choice(OTHERS)
        return random.choice(bounds + beyond) if kind < 4 and bounds else random.choice(NUMBERS)

    def _places(self) -> Iterator[Place]:
        for kind in WITH_NUMBERS:
            for entry in self.zoo.registry(kind):
                base, settings, path = self._carrier(entry)
                yield from self._of(base, settings, path, entry.options.schema())
        for name in known():
            settings = (f"optimizers={{default: {{name: {name}, lr: 1e-3}}}}",)
            yield from self._of(BASE, settings, "optimizers.default", optimizer_options(name).schema())
        for entry in self.zoo.datasets:
            folder = ", path: ." if entry.name == "image-folder" else ""
            for option, schema in entry.options.schema().items():
                for number, listed in _numbers(schema):
                    settings = (f"dataset={{name: {entry.name}{folder}}}",)
                    yield Place(BASE, settings, f"dataset.{option}", number, listed)
        for recipe in (BASE, "r1-mnist"):
            for part, keys in KEYS.items():
                yield from self._of(recipe, (), part, {key: {"type": "number"} for key in keys})

    def _of(
        self, base: str, settings: tuple[str, ...], path: str, schemas: dict[str, dict[str, Any]]
    ) -> Iterator[Place]:
        """The numbers among some options, in a recipe that trains in a moment."""
        recipe = load_recipe(base, self.zoo, settings)
        parts = {f"networks.{role}": network.options for role, network in recipe.networks.items()}
        parts |= {"loss": recipe.loss.options, "prior": recipe.prior.options}
        small = {f"{part}.{key}": SMALL[key] for part in parts for key in parts[part].keys() & SMALL.keys()}
        for option, schema in schemas.items():
            own = f"{path}.{option}"
            others = [f"{key}={json.dumps(value)}" for key, value in small.items() if key != own]
            for number, listed in _numbers(schema):
                yield Place(base, (*TINY, *settings, *others), own, number, listed)

    def _assembles(self, name: str, settings: tuple[str, ...]) -> bool:
        try:
            self._assembly(load_recipe(name, self.zoo, [*TINY, *settings]))
        except GanzooError:
            return False
        return True

    def _assembly(self, recipe: Recipe) -> Assembly:
        classes = len(self.dataset.classes)
        return assemble(recipe, self.zoo, self.dataset.modality, classes, self.dataset.column_shapes)

    def _carrier(self, entry: Entry[Any]) -> tuple[str, tuple[str, ...], str]:
        """A recipe that uses a thing, what brings it in where none does, and where its options are."""
        recipes = {name: recipe for name, recipe in self.recipes.items() if recipe.dataset.name == "mnist"}
        if entry.kind in NETWORK_KINDS:
            path = f"networks.{entry.kind}"
            fit = [name for name, recipe in recipes.items() if entry.kind in recipe.networks]
            fit.sort(key=lambda name: (recipes[name].networks[entry.kind].name != entry.name, name != BASE))
            settings = (f"{path}.name={entry.name}",)
            return next(name for name in fit if self._assembles(name, settings)), settings, path
        for name, recipe in (recipes | self.recipes).items():
            for path, kind, component in recipe.components():
                if (kind, component.name) == (entry.kind, entry.name):
                    return name, (), ".".join(map(str, path))
        if entry.kind in ("regularizer", "tracker"):
            several = KINDS[entry.kind]
            return BASE, (f"{several}=[{{name: {entry.name}}}]",), f"{several}.0"
        return BASE, (f"{entry.kind}={entry.name}",), entry.kind


def _numbers(schema: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    """The numbers that a JSON schema allows, each with whether it stands in a list."""
    if schema.get("type") in ("integer", "number") and "enum" not in schema:
        yield schema, False
    for choice in schema.get("anyOf", ()):
        yield from _numbers(choice)
    for item in [*schema.get("prefixItems", ()), schema.get("items")]:
        if isinstance(item, dict):
            yield from ((number, True) for number, _ in _numbers(item))


def _written(value: Any) -> str:
    """YAML of it."""
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, list):
        return f"[{', '.join(map(_written, value))}]"
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key}: {_written(inner)}' for key, inner in value.items())}}}"
    return json.dumps(value)
