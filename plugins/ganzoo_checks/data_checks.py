"""What datasets, extractors, metrics, priors and trackers must do: the part that needs no files or services."""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args, get_type_hints

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, InvalidDataset, Split
from ganzoo.api.metric import Better, Extractor, Features, Metric, MetricInputs, ModelMetric, Scale, ShareOf
from ganzoo.api.priors import Prior
from ganzoo.api.tracker import Tracker
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.neighbours import radii
from ganzoo.registry.registry import SUPPLIED, Entry
from ganzoo.reproducibility import tensors_digest
from ganzoo_checks.entries import described, made, plugin_code, require
from ganzoo_checks.toys import GREY, fake_device, require_no_hidden_state, seed

BARE = "It must build without options and without network access."


def signature(entry: Entry[Any]) -> None:
    """The factory takes the arguments that ganzoo passes."""
    supplied = SUPPLIED.get(entry.kind, ())
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
    """In an empty folder, a dataset reports which files are missing, or generates its images.

    Generated images must be the same each time, and different for the test split.
    """
    splits, remedy = ("train", "train", "test"), "Raise GanzooError(sentence, remedy) for missing files."
    datasets: list[Dataset] = []
    with TemporaryDirectory() as folder:
        for split in splits:
            try:
                datasets.append(made(entry, "in an empty folder", remedy, split, Path(folder)))
            except GanzooError as error:
                says_what_is_missing = isinstance(error.__cause__, GanzooError) and not datasets
                if says_what_is_missing and not isinstance(error.__cause__, InvalidDataset):
                    return
                raise
    for dataset, split in zip(datasets, splits, strict=True):
        require(
            (dataset.name, dataset.split) == (entry.name, split),
            f"{described(entry)} returns the dataset '{dataset.name}' ({dataset.split}) for its {split} split.",
            "Give it its registered name, and pass the split on.",
        )
    train, again, test = datasets
    require(
        _digest(train) == _digest(again),
        f"{described(entry)} returns different samples, labels or columns each time it is built.",
        "Draw them from a torch.Generator that it seeds itself.",
    )
    rows = {row.tobytes() for row in train.images.numpy()}
    shared = sum(row.tobytes() in rows for row in test.images.numpy())
    require(
        shared <= len(test) / 2,  # real datasets have a few duplicates
        f"{described(entry)} has {shared:,} of the {len(test):,} samples of its test split in its train split too.",
        "Divide them by the split it is given: scores compare with samples that were never trained on.",
    )
    for what, one, other in (
        ("shapes", train.modality, test.modality),
        ("classes", train.classes, test.classes),
        ("columns", train.column_shapes, test.column_shapes),
    ):
        require(
            one == other,
            f"{described(entry)} has different {what} in its test split and its train split.",
            "Give both splits the same sample shape, classes and columns.",
        )


def _digest(dataset: Dataset) -> str:
    labels = {} if dataset.labels is None else {"label": dataset.labels}
    return tensors_digest({"image": dataset.images, **labels, **dataset.columns}.items())


def extractor(entry: Entry[Any]) -> None:
    """An extractor returns finite features of its declared width and logits of its classes, and has a stable digest.

    Its features are those of the images alone, however often it is built, and all its tensors move with ``.to()``.
    """
    # As ganzoo uses one: see requests.find_extractor.
    first, second = (made(entry, "to build", BARE).eval().requires_grad_(False) for _ in range(2))
    shape, width, classes, domains = (getattr(first, name, None) for name in ("shape", "width", "classes", "domains"))
    require(
        isinstance(shape, (tuple, list)) and shape != () and all(isinstance(size, int) and size > 0 for size in shape),
        f"{described(entry)} has shape = {shape!r}.",
        "Set it to the shape of one image: (channels, height, width).",
    )
    assert shape is not None
    require(isinstance(width, int), f"{described(entry)} has width = {width!r}.", "Set it to the number of features.")
    require(
        isinstance(classes, int), f"{described(entry)} has classes = {classes!r}.", "Set it to a number, or leave 0."
    )
    require(
        isinstance(domains, tuple) and all(isinstance(domain, str) for domain in domains),
        f"{described(entry)} has domains = {domains!r}.",
        "Set it to a tuple of the datasets that it was fitted to, such as ('mnist',), or leave ().",
    )
    require(
        not isinstance(entry.factory, type) or getattr(entry.factory, "domains", None) == domains,
        f"{described(entry)} has domains = {domains!r}, but its class has {getattr(entry.factory, 'domains', None)!r}.",
        "Make domains an attribute of the class: ganzoo reads it before it builds an extractor.",
    )
    with plugin_code(entry, "to give its digest", "Use a hexadecimal digest of its weights."):
        digests = first.digest, second.digest
    require(
        isinstance(digests[0], str) and bool(re.fullmatch(r"[0-9a-f]{8,}", digests[0])) and digests[0] == digests[1],
        f"{described(entry)} has the digest {digests[0]!r}.",
        "Use a hexadecimal digest of its weights, the same each time.",
    )
    require_no_hidden_state(entry, {}, first)
    pictures = len(shape) == 3 and tuple(shape[:2]) != (1, 1)  # points and sounds are stored as networks see them
    images = torch.randint(256, (4, *shape), dtype=torch.uint8) if pictures else torch.rand(4, *shape) * 2 - 1
    with plugin_code(entry, f"on images of shape {tuple(images.shape)}", "Accept images of the class attribute shape."):
        features, logits = first(images.clone())
    shown = f"{tuple(features.shape)} and type {features.dtype}" if isinstance(features, Tensor) else repr(features)
    require(
        isinstance(features, Tensor)
        and tuple(features.shape) == (4, width)
        and features.dtype == torch.float32
        and bool(features.isfinite().all()),
        f"{described(entry)} returns features of shape {shown}.",
        f"Return finite float32 features of shape (n, {width}).",
    )
    logits_shape = None if logits is None else tuple(getattr(logits, "shape", ()))
    require(
        logits_shape == ((4, classes) if classes else None),
        f"{described(entry)} returns logits of shape {logits_shape} for 4 images and declares {classes} classes.",
        "Set classes to the number of logits.",
    )
    extracted = [extract(entry.name, one, images, torch.device("cpu")) for one in (first, second)]
    for name in ("values", "logits", "projection"):
        one, other = (getattr(features, name) for features in extracted)
        require(
            one is None or torch.equal(one, other),
            f"{described(entry)} gives different features each time it is built.",
            "Load its weights from a file, or draw them from a torch.Generator that it seeds.",
        )
    single = extract(entry.name, first, images, torch.device("cpu"), batch_size=1)
    for what, together, alone in (
        ("features", extracted[0].values, single.values),
        ("logits", extracted[0].logits, single.logits),
    ):
        if together is None or alone is None:
            continue
        largest = float(together.nan_to_num(neginf=0.0).abs().max())
        require(
            torch.allclose(together, alone, rtol=1e-3, atol=1e-3 * largest),
            f"{described(entry)} gives an image different {what} if it is alone in its batch.",
            "Compute them from each image alone, without batch statistics.",
        )


def metric(entry: Entry[Any]) -> None:
    """A metric is a ``Metric``, and declares which direction is better, its range of values, and what it needs."""
    instance: Metric = made(entry, "to build", BARE)
    better, words = getattr(instance, "better", None), getattr(instance, "range", None)
    require(
        better in get_args(Better),
        f"{described(entry)} has better = {better!r}.",
        "Set it to 'lower', 'higher' or 'neither', where real images' own score is best.",
    )
    require(
        isinstance(words, str) and words != "",
        f"{described(entry)} does not state its range of values.",
        "Set range, such as '0 to 1'.",
    )
    require(
        isinstance(instance.least, int) and instance.least >= 2,
        f"{described(entry)} has least = {instance.least!r}.",
        "Set it to 2 or more: a distribution needs at least two samples.",
    )
    choices = {
        "scale": get_args(Scale),
        "share_of": get_args(ShareOf),
        "rejecting": get_args(get_type_hints(Metric)["rejecting"]),
    }
    for name, allowed in choices.items():
        value = getattr(instance, name)
        remedy = f"Set it to one of {', '.join(map(repr, allowed))}."
        require(value in allowed, f"{described(entry)} has {name} = {value!r}.", remedy)
    for name in ("calls", "does") if isinstance(instance, ModelMetric) else ():
        text = getattr(instance, name, None)
        remedy = "Set calls to the objective's method, and does to what an objective with that method does."
        require(isinstance(text, str) and text != "", f"{described(entry)} has {name} = {text!r}.", remedy)


def score(entry: Entry[Any]) -> None:
    """A metric gives a finite number, the same for the same images, and an interval around it or None.

    It does not change the features that it is given. Metrics of trained models are skipped, since the check does not
    know which model they need.
    """
    instance: Metric = made(entry, "to build", BARE)
    n = max(128, instance.least)
    features = _ToyExtractor(8 if instance.needs_logits else 0, instance.rejecting != "refuses")
    samples, real, train = (_ToyReference(_toy_images(split, n), features) for split in ("train", "test", "train"))
    labels = samples.dataset.labels if instance.needs_labels else None
    tensors = [
        tensor
        for one in (samples, real, train)
        for tensor in (one.features.values, one.features.logits)
        if tensor is not None
    ]
    before = [tensor.clone() for tensor in tensors]
    with plugin_code(entry, "to report whether it can be computed", "See ganzoo.Metric.obstacle."):
        if isinstance(instance, ModelMetric) or instance.obstacle(features, real.dataset) is not None:
            return

    def inputs() -> MetricInputs:
        return MetricInputs(n, lambda: samples.features, labels, real, lambda: train, see=features.see)

    def unchanged() -> None:
        require(
            all(map(torch.equal, tensors, before)),
            f"{described(entry)} changes the features it is given, which other metrics share.",
            "Work on a copy: values.clone().",
        )

    with plugin_code(entry, f"on {n} samples", "See ganzoo.MetricInputs for what it is given."):
        value = float(instance.compute(inputs()))
        unchanged()
        seed(1)
        again = float(instance.compute(inputs()))
    require(math.isfinite(value), f"{described(entry)} gives {value}.", "Return a finite number for any samples.")
    require(
        math.isclose(value, again, rel_tol=1e-6),
        f"{described(entry)} gives {value} and {again} for the same samples.",
        "Draw with a torch.Generator that it seeds itself.",
    )
    with plugin_code(entry, "to give its interval", "Return (low, high), or None."):
        low, high = instance.interval(inputs(), value) or (value, value)
        require(low <= high, f"{described(entry)} gives the interval {low} to {high}.", "Return (low, high), or None.")
    unchanged()
    remedy = "They are requested before samples exist, and written as JSON: use only n, real and training_set."
    with plugin_code(entry, "to give its settings", remedy):
        json.dumps(dict(instance.settings(MetricInputs(n, _no_samples, None, real, lambda: train))))


def _no_samples() -> Features:
    raise GanzooError("There are no samples yet.")


class _ToyExtractor(Extractor):
    """Eight pixels as features and, for a classifier, as the logits of eight classes.

    Args:
        classes: 8 for a classifier, or 0.
        rejects: Whether it assigns images whose first pixel is bright to no class.
    """

    shape = GREY
    width = 8
    digest = "70797079"

    def __init__(self, classes: int, rejects: bool) -> None:
        super().__init__()
        self.classes, self.rejects = classes, rejects  # type: ignore[misc]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (n, 8) and logits (n, 8) or None of images (n, 1, 28, 28)."""
        pixels = images.flatten(1)[:, : self.width].float() / 255
        rejected = pixels[:, :1] > 0.8 if self.rejects else torch.zeros(len(pixels), 1, dtype=torch.bool)
        return pixels, pixels.masked_fill(rejected, -math.inf) if self.classes else None

    def see(self, images: Tensor) -> Features:
        """The features of images."""
        return extract("toy", self, images, torch.device("cpu"))


@dataclass(frozen=True)
class _ToyReference:
    """Images as the toy extractor sees them. Unlike ``RealImages``, it leaves nothing in the user's cache."""

    dataset: Dataset
    extractor: _ToyExtractor

    @cached_property
    def features(self) -> Features:
        """The features of all images."""
        return self.extractor.see(self.dataset.images)

    @property
    def key(self) -> Mapping[str, Any]:
        """What the features of real images depend on."""
        own = {"dataset": self.dataset.name, "options": {}, "split": self.dataset.split, "count": len(self.dataset)}
        return {**own, "content": "0" * 64, "extractor": "toy", "extractor_digest": self.extractor.digest}

    def radii(self, k: int) -> Tensor:
        """The distance of each image to its k-th nearest neighbour, (n,) float64."""
        return radii(self.features.values, k)


def _toy_images(split: Split, n: int) -> Dataset:
    images = torch.randint(256, (n, *GREY), dtype=torch.uint8)
    return Dataset("toy", split, images, torch.arange(n) % 8, tuple("01234567"))


def prior(entry: Entry[Any]) -> None:
    """A prior draws finite float32 codes of its width, using only the generator and the device that it is given."""
    if set(entry.options.types) - set(entry.options.defaults):
        return
    instance: Prior = made(entry, "to build", "Build it from its defaults.")
    generator, device = torch.Generator(), torch.device("cpu")

    def drawn(seed: int) -> Any:
        with plugin_code(entry, "to draw 4 codes", "Implement sample(n, generator, device)."):
            return instance.sample(4, generator.manual_seed(seed), device)

    first = drawn(0)
    require(
        not isinstance(first, Tensor) or len(first) < 2 or bool((first != first[:1]).any()),
        f"{described(entry)} draws one code and repeats it.",
        "Draw n codes.",
    )
    shape = tuple(getattr(first, "shape", ()))
    require(
        shape == (4, instance.width) and first.dtype == torch.float32 and bool(first.isfinite().all()),
        f"{described(entry)} draws codes of shape {shape} and type {getattr(first, 'dtype', type(first).__name__)}.",
        f"Return finite float32 codes of shape (n, {instance.width}), which is its width.",
    )
    require(
        torch.equal(first, drawn(0)) and not torch.equal(first, drawn(1)),
        f"{described(entry)} does not draw from its generator alone.",
        "Pass generator=generator to each random function.",
    )
    with fake_device(entry) as elsewhere:
        codes = made(entry, "to build", "Build it from its defaults.").sample(4, generator, elsewhere)
        require(codes.device == elsewhere, f"{described(entry)} ignores the device it is given.", "Pass device=device.")


def tracker(entry: Entry[Any]) -> None:
    """A tracker's class is a ``Tracker``. No tracker is built, since that may need a service."""
    require(
        not isinstance(entry.factory, type) or issubclass(entry.factory, Tracker),
        f"{described(entry)} is not a Tracker.",
        "Inherit from ganzoo.Tracker.",
    )
    missing = ", ".join(sorted(getattr(entry.factory, "__abstractmethods__", ())))
    require(not missing, f"{described(entry)} does not implement {missing}.", "See ganzoo.Tracker.")
