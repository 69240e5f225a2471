"""What datasets, extractors and trackers must do, as far as it can be seen without their files and services."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import torch

from ganzoo.api.dataset import ImageDataset
from ganzoo.api.extractor import Extractor
from ganzoo.api.metric import Better, Metric
from ganzoo.checks.verdict import blaming, called, require
from ganzoo.errors import GanzooError
from ganzoo.registry.registry import Entry

SUPPLIED = {"dataset": ("split", "folder"), "extractor": (), "metric": (), "tracker": ("folder",)}
"""What ganzoo gives a factory, by kind."""


def signature(entry: Entry[Any]) -> None:
    """The factory takes what ganzoo supplies."""
    supplied = SUPPLIED[entry.kind]
    try:
        inspect.signature(entry.factory).bind(*supplied, **entry.options.types)
        fits = True
    except TypeError:
        fits = False
    except ValueError:  # written in C without a signature
        return
    wanted = f"factory({', '.join([*supplied, '*', 'options'])})"
    require(fits, f"{called(entry)} cannot be called as {wanted}.", "Positional parameters come first, in this order.")


def without_files(entry: Entry[Any]) -> None:
    """In an empty folder a dataset is a sentence that says what is missing, or makes its images itself."""
    with TemporaryDirectory() as folder:
        try:
            with blaming(entry, "in a folder without its files", "Raise GanzooError(sentence, remedy) there."):
                found = _attempt(entry, Path(folder))
        except GanzooError as error:
            if isinstance(error.__cause__, GanzooError):
                return
            raise
    require(
        isinstance(found, ImageDataset), f"{called(entry)} makes a {type(found).__name__}.", "Return an ImageDataset."
    )
    require(
        (found.name, found.split) == (entry.name, "train"),
        f"{called(entry)} calls itself '{found.name}' ({found.split}) when asked for its train split.",
        "Name it as it is registered, and pass the split on.",
    )


def _attempt(entry: Entry[Any], folder: Path) -> Any:
    return entry.create("train", folder, **entry.check({}))


def extractor(entry: Entry[Any]) -> None:
    """An extractor gives finite features of the width it declares, logits of its classes, and one digest."""
    first, second = _extractor(entry), _extractor(entry)
    require(
        re.fullmatch(r"[0-9a-f]{8,}", first.digest) is not None and first.digest == second.digest,
        f"{called(entry)} has the digest {first.digest!r}.",
        "A hexadecimal digest of its weights, the same each time it is built.",
    )
    points = first.shape[:2] == (1, 1)
    images = torch.rand(4, *first.shape) * 2 - 1 if points else torch.randint(256, (4, *first.shape), dtype=torch.uint8)
    with blaming(entry, f"on images of shape {tuple(images.shape)}", "It takes what its class attribute shape says."):
        features, logits = first(images)
    require(
        tuple(features.shape) == (4, first.width)
        and features.dtype == torch.float32
        and bool(features.isfinite().all()),
        f"{called(entry)} gives features of shape {tuple(features.shape)} and type {features.dtype}.",
        f"Finite float32 features of shape (n, {first.width}).",
    )
    found = 0 if logits is None else logits.shape[1]
    said = f"{called(entry)} tells {found} classes apart, not {first.classes}."
    require(found == first.classes, said, "Set classes to their number.")


def _extractor(entry: Entry[Any]) -> Extractor:
    with blaming(entry, "to be built", "An extractor is built without options and without the network."):
        found: Extractor = entry.create()
    require(isinstance(found, Extractor), f"{called(entry)} is no Extractor.", "Inherit from ganzoo.Extractor.")
    return found


def metric(entry: Entry[Any]) -> None:
    """A metric is one, and says which way it is better and what its values are."""
    with blaming(entry, "to be built", "A metric is built without options."):
        found = entry.create()
    require(isinstance(found, Metric), f"{called(entry)} is not a Metric.", "Inherit from ganzoo.Metric.")
    better, words = getattr(found, "better", None), getattr(found, "range", None)
    require(
        better in get_args(Better),
        f"{called(entry)} has better = {better!r}.",
        "Set it to 'lower', 'higher' or 'neither', where real images' own score is best.",
    )
    require(
        isinstance(words, str) and words != "",
        f"{called(entry)} does not say which values it has.",
        "Set range, such as '0 to 1'.",
    )
    require(found.least >= 2, f"{called(entry)} has least = {found.least}.", "A distribution takes at least two.")
