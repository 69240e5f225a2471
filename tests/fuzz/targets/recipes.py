"""Recipes and their overrides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import mutations
import torch

from ganzoo import Images
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.config.schema import Recipe
from ganzoo.registry import strict
from targets import Target

if TYPE_CHECKING:
    from pathlib import Path
    from random import Random

    from ganzoo.registry.loading import Zoo

SHAPES = ((1, 28, 28), (3, 32, 32), (1, 8, 8), (1, 1, 2))
KEYS = ("train", "images", "networks", "generator", "discriminator", "hidden", "name", "loss", "optimizers", "default",
        "lr", "betas", "0", "1", "-1", "9" * 4400, "٣", "regularizers", "prior", "dim", "evaluate", "metrics", "x",
        "options", "dataset", "path", "trackers", "augmentation", "phases", "\ud800", "a\nb")  # fmt: skip

PLAIN = ("1", "2", "0.5", "1e-4", "mlp", "null", "true", "[8]", "{name: mlp}", "mnist")


class Targets:
    """Registered recipes, damaged.

    Args:
        zoo: Their registry.
    """

    def __init__(self, zoo: Zoo) -> None:
        self.zoo = zoo
        self.texts = [entry.create().read_text("utf-8") for entry in zoo.recipes]
        self.places = [
            place for text in self.texts for place in mutations.places(strict.parse(text, "a registered recipe"))
        ]
        self.names = [entry.name for entry in zoo.recipes]

    def all(self) -> dict[str, Target]:
        """By name."""
        return {
            "recipe": Target(self.recipe, 8),
            "override": Target(self.override, 8),
            "assembly": Target(self.assembly, 1),
        }

    def recipe(self, random: Random, folder: Path) -> None:
        """A file with damaged text or a damaged structure."""
        path = folder / random.choice(("odd.yaml", "odd.yaml", "odd.yaml", "Odd name.yaml", "a\nb.yml", "é.yaml"))
        path.write_bytes(self._content(random))
        self._require_round_trip(load_recipe(path, self.zoo), folder)

    def override(self, random: Random, folder: Path) -> None:
        """One to three overrides of a registered recipe."""
        overrides = [self._override(random) for _ in range(random.choice((1, 1, 2, 3)))]
        source = random.choice(self.names) if random.random() < 0.95 else random.choice(mutations.TEXTS)
        self._require_round_trip(load_recipe(source, self.zoo, overrides), folder)

    def assembly(self, random: Random, folder: Path) -> None:
        """Build an accepted recipe for a shape that may not fit."""
        path = folder / "odd.yaml"
        data = strict.parse(random.choice(self.texts), "a registered recipe")
        for _ in range(20):
            _change_number(random, data)
            path.write_text(strict.dump(data), "utf-8")
            try:
                recipe = load_recipe(path, self.zoo)
            except Exception:
                continue
            torch.manual_seed(0)
            assemble(recipe, self.zoo, Images(*random.choice(SHAPES)), random.choice((0, 1, 10)))
            return

    def _content(self, random: Random) -> bytes:
        text = random.choice(self.texts)
        kind = random.randrange(4)
        if kind == 0:
            return mutations.content(random, text.encode())
        if kind == 1:
            return mutations.text(random, text).encode("utf-8", "surrogatepass")
        data = mutations.structure(random, strict.parse(text, "a registered recipe"))
        return mutations.as_json(data) if kind == 2 else _dumped(data)

    def _override(self, random: Random) -> str:
        if random.random() < 0.1:
            return random.choice((*mutations.TEXTS, "=", "a=", ".=1", "a..b=1"))
        if random.random() < 0.6:
            path = ".".join(map(str, random.choice(self.places)))
            return f"{path}={random.choice(PLAIN)}"
        depth = random.choice((1, 2, 2, 3, 3, 4, 400, 4000))
        path = ".".join(random.choice(KEYS) for _ in range(depth)) if depth < 9 else ".".join("a" * depth)
        value = random.choice((*mutations.TEXTS, *map(str, mutations.SYNTAX), "1", "[1, 2]", "{name: mlp}", "1e-4"))
        return f"{path}={value}"

    def _require_round_trip(self, recipe: Recipe, folder: Path) -> None:
        path = folder / f"{recipe.name}.yaml"
        path.write_text(recipe.to_yaml(), "utf-8")
        assert load_recipe(path, self.zoo) == recipe, "an accepted recipe changes when written and read back"


def _dumped(data: Any) -> bytes:
    return strict.dump(data).encode("utf-8", "surrogatepass")


def _change_number(random: Random, data: Any) -> None:
    """Change one number, so that the recipe often stays valid."""
    paths = [path for path in mutations.places(data) if path[0] in ("networks", "loss", "prior", "regularizers")]
    *parents, last = random.choice(paths)
    data = mutations.at(data, parents)
    if isinstance(data[last], (int, float)):
        data[last] = random.choice((0, 1, 2, 3, 5, 31, 1000, 10**9, 0.5, 10**18))
    elif isinstance(data[last], list):
        data[last] = random.choice(([], [1], [2] * 40, [10**9], data[last] * 2))
