"""What datasets, extractors, metrics, priors and trackers must do, as far as that shows without files and services."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch

from ganzoo.api.dataset import ImageDataset
from ganzoo.api.metric import Better, Extractor, Metric
from ganzoo.api.priors import Prior
from ganzoo.checks.entries import described, plugin_code, require
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry

SUPPLIED = {"dataset": ("split", "folder"), "extractor": (), "metric": (), "tracker": ("folder",)}
"""Positional arguments that ganzoo passes to a factory, by kind."""


def signature(entry: Entry[Any]) -> None:
    """The factory takes the arguments that ganzoo passes."""
    supplied = SUPPLIED[entry.kind]
    try:
        inspect.signature(entry.factory).bind(*supplied, **entry.options.types)
        fits = True
    except TypeError:
        fits = False
    except ValueError:  # a C function without a signature
        return
    expected = f"factory({', '.join([*supplied, '*', 'options'])})"
    require(
        fits,
        f"{described(entry)} cannot be called as {expected}.",
        "Take the positional parameters first, in this order.",
    )


def without_files(entry: Entry[Any]) -> None:
    """In an empty folder, a dataset says which files are missing, or generates its images."""
    with TemporaryDirectory() as folder:
        try:
            with plugin_code(entry, "in an empty folder", "Raise GanzooError(sentence, remedy) for missing files."):
                found: Any = entry.create("train", Path(folder), **entry.check({}))
        except GanzooError as error:
            if isinstance(error.__cause__, GanzooError):
                return
            raise
    require(
        isinstance(found, ImageDataset),
        f"{described(entry)} returns a {type(found).__name__}.",
        "Return an ImageDataset.",
    )
    require(
        (found.name, found.split) == (entry.name, "train"),
        f"{described(entry)} returns the dataset '{found.name}' ({found.split}) for its train split.",
        "Give it its registered name, and pass the split on.",
    )


def extractor(entry: Entry[Any]) -> None:
    """An extractor returns finite features of its declared width and logits of its classes, and has a stable digest."""
    first, second = _create_extractor(entry), _create_extractor(entry)
    require(
        re.fullmatch(r"[0-9a-f]{8,}", first.digest) is not None and first.digest == second.digest,
        f"{described(entry)} has the digest {first.digest!r}.",
        "Use a hexadecimal digest of its weights, the same each time.",
    )
    points = first.shape[:2] == (1, 1)
    images = torch.rand(4, *first.shape) * 2 - 1 if points else torch.randint(256, (4, *first.shape), dtype=torch.uint8)
    with plugin_code(entry, f"on images of shape {tuple(images.shape)}", "Accept images of the class attribute shape."):
        features, logits = first(images)
    require(
        tuple(features.shape) == (4, first.width)
        and features.dtype == torch.float32
        and bool(features.isfinite().all()),
        f"{described(entry)} returns features of shape {tuple(features.shape)} and type {features.dtype}.",
        f"Return finite float32 features of shape (n, {first.width}).",
    )
    found = 0 if logits is None else logits.shape[1]
    sentence = f"{described(entry)} returns logits of {found} classes and declares {first.classes}."
    require(found == first.classes, sentence, "Set classes to the number of logits.")


def _create_extractor(entry: Entry[Any]) -> Extractor:
    with plugin_code(entry, "to build", "Build it without options and without the network."):
        found: Extractor = entry.create()
    require(isinstance(found, Extractor), f"{described(entry)} is not an Extractor.", "Inherit from ganzoo.Extractor.")
    return found


def metric(entry: Entry[Any]) -> None:
    """A metric is one, and says which way it is better and what its values are."""
    with plugin_code(entry, "to be built", "A metric is built without options."):
        found = entry.create()
    require(isinstance(found, Metric), f"{described(entry)} is not a Metric.", "Inherit from ganzoo.Metric.")
    better, words = getattr(found, "better", None), getattr(found, "range", None)
    require(
        better in get_args(Better),
        f"{described(entry)} has better = {better!r}.",
        "Set it to 'lower', 'higher' or 'neither', where real images' own score is best.",
    )
    require(
        isinstance(words, str) and words != "",
        f"{described(entry)} does not say which values it has.",
        "Set range, such as '0 to 1'.",
    )
    require(found.least >= 2, f"{described(entry)} has least = {found.least}.", "A distribution takes at least two.")


def prior(entry: Entry[Any]) -> None:
    """A prior draws finite float32 codes of its width, from the generator that it is given and from nothing else."""
    if set(entry.options.types) - set(entry.options.defaults):
        return
    with plugin_code(entry, "to be built", "Build it from its defaults."):
        found = entry.create()
    require(isinstance(found, Prior), f"{described(entry)} is not a Prior.", "Inherit from ganzoo.Prior.")
    generator, device = torch.Generator(), torch.device("cpu")

    def drawn(seed: int) -> Any:
        with plugin_code(entry, "to draw 4 codes", "Implement sample(n, generator, device)."):
            return found.sample(4, generator.manual_seed(seed), device)

    first = drawn(0)
    shape = tuple(getattr(first, "shape", ()))
    require(
        shape == (4, found.width) and first.dtype == torch.float32 and bool(first.isfinite().all()),
        f"{described(entry)} draws codes of shape {shape} and type {getattr(first, 'dtype', type(first).__name__)}.",
        f"Return finite float32 codes of shape (n, {found.width}), which is its width.",
    )
    require(
        torch.equal(first, drawn(0)) and not torch.equal(first, drawn(1)),
        f"{described(entry)} does not draw from its generator alone.",
        "Pass generator=generator to each random function.",
    )
