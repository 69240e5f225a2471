"""Expands the patterns on a command line into training jobs."""

from __future__ import annotations

import hashlib
import re
import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from ganzoo.config.loading import Override, load_recipe, needs_pictures
from ganzoo.config.schema import Recipe, training_digest
from ganzoo.errors import GanzooError, nearest
from ganzoo.files import without_folders
from ganzoo.registry import strict
from ganzoo.registry.loading import Zoo
from ganzoo.runs.generator import pinned


@dataclass(frozen=True, eq=False)
class Job:
    """One training run of the matrix."""

    recipe: Recipe  # resolved, seed and dataset included
    source: str  # the argument of `ganzoo run`: the recipe's registered name, or its file
    overrides: tuple[str, ...]  # the values of ``--set`` for `ganzoo run`
    plugin: str | None  # that provides the recipe; None for a file
    digest: str  # of everything that changes the weights, see ``training_digest``
    title: str | None = None  # shown instead of recipe and dataset
    pictured: str | None = None
    """Name of its picture file; None builds one from recipe, dataset, seed, digest and hardware, and an empty one keeps
    no picture. In a study, rows that share a recipe need different names."""

    @property
    def key(self) -> tuple[str, str, int]:
        """Identifies the training: its digest, dataset and seed."""
        return self.digest, self.dataset, self.seed

    @property
    def seed(self) -> int:
        """``train.seed``."""
        return self.recipe.train.seed

    @property
    def dataset(self) -> str:
        """The dataset's name."""
        return self.recipe.dataset.name

    @property
    def label(self) -> str:
        """For a person: recipe, dataset and seed."""
        return f"{self.title or f'{self.recipe.name} on {self.dataset}'}, seed {self.seed}"

    def picture(self, hardware: str) -> str | None:
        """Path of its picture, relative to the results folder. A study keeps only the picture of a row's first seed.

        The digest, with hardware and precision, distinguishes the pictures of different records.
        """
        if self.pictured is None:
            made_on = hashlib.sha256(hardware.encode()).hexdigest()[:6]
            return f"samples/{self.recipe.name}-{self.dataset}-{self.seed}-{self.digest[:8]}-{made_on}.png"
        name = re.sub(r"[^a-z0-9.]+", "-", self.pictured.lower()).strip("-.")
        return f"samples/{name}-{self.digest[:8]}.png" if name else None

    @property
    def arguments(self) -> list[str]:
        """The arguments of ``ganzoo run``, without the folder."""
        return [self.source, *(word for override in self.overrides for word in ("--set", override))]

    @property
    def command(self) -> str:
        """The shell command that runs this training, with only the last name of each absolute path."""
        words = ["ganzoo", "run", without_folders(self.source)]
        for override in map(Override.parse, self.overrides):
            kept = without_folders(override.value)
            text = override.text if kept == override.value else f"{'.'.join(override.path)}={strict.quoted(kept)}"
            words += ["--set", text]
        return shlex.join(words)

    def folder(self, work: Path) -> Path:
        """Its run folder."""
        return job_folder(work, self.recipe.name, self.dataset, self.seed, self.digest)

    def with_seed(self, seed: int) -> Job:
        """The same training with another seed."""
        overrides = (*self.overrides, f"train.seed={seed}")
        return replace(self, recipe=self.recipe.with_train(seed=seed), overrides=overrides)


def job_folder(work: Path, recipe: str, dataset: str, seed: int, digest: str) -> Path:
    """The run folder of a job; a different recipe with the same name gets a different folder."""
    return work / recipe / dataset / f"seed-{seed}-{digest[:8]}"


def jobs_of(
    zoo: Zoo,
    patterns: Sequence[str],
    *,
    exclude: Sequence[str] = (),
    made_for: Sequence[str] = (),
    datasets: Sequence[str] = (),
    seeds: Sequence[int] = (),
    overrides: Sequence[str] = (),
) -> list[Job]:
    """A job for every recipe on every dataset with every seed, each once, in the order of the patterns and names.

    Patterns are registered names, globs over them, or YAML files. ``exclude`` and ``made_for`` (datasets) restrict what
    globs match; a recipe named in full is always taken. Without ``datasets`` and ``seeds``, each recipe has its own.

    Raises:
        GanzooError: A pattern matches nothing, no recipe is left, a dataset is unknown, or a recipe is refused.
    """
    for name in (*made_for, *datasets):
        zoo.datasets.get(name)
    sources = dict.fromkeys(source for one in patterns for source in _sources(one, zoo, exclude, made_for))
    if not sources:
        raise GanzooError(
            "No recipe is left after --exclude and --made-for.",
            "See `ganzoo list recipes`; those for GPUs need a pattern such as '*-gpu'.",
        )
    on: list[list[str]] = [[f"dataset.name={name}"] for name in datasets] or [[]]
    seeded: list[list[str]] = [[f"train.seed={number}"] for number in seeds] or [[]]
    jobs = [job_of(source, zoo, [*overrides, *more, *seed]) for source, more, seed in product(sources, on, seeded)]
    return list({(job.recipe.name, job.digest, job.seed): job for job in jobs}.values())


def _sources(pattern: str, zoo: Zoo, exclude: Sequence[str], made_for: Sequence[str]) -> Iterable[str]:
    if not set(pattern) & set("*?["):
        return [pattern]
    names = [entry.name for entry in zoo.recipes if not needs_pictures(entry.name, zoo)]
    matching = [name for name in names if fnmatchcase(name, pattern)]
    if not matching:
        raise GanzooError(
            f"No recipe matches '{pattern}'.", nearest(pattern.strip("*"), names, listing="ganzoo list recipes")
        )
    kept = [name for name in matching if not any(fnmatchcase(name, glob) for glob in exclude)]
    return [name for name in kept if not made_for or load_recipe(name, zoo).dataset.name in made_for]


def job_of(source: str, zoo: Zoo, overrides: Sequence[str]) -> Job:
    """A job that trains a recipe, given by its name or file, with overrides."""
    recipe, _ = pinned(load_recipe(source, zoo, overrides), zoo)  # with the digest of its initial weights, as in a run
    plugin = zoo.recipes.get(source).plugin if source in zoo.recipes else None
    return Job(recipe, source, tuple(overrides), plugin, training_digest(recipe))
