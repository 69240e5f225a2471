"""All checks of a plugin; and those of what does not train: documentation, options, data, metrics, trackers.

PYTEST_DONT_REWRITE: assertions carry whole messages.
"""

from __future__ import annotations

import inspect
import math
import re
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any, get_type_hints

import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

import ganzoo_checks.training  # noqa: F401 - adds its checks
from ganzoo import Dataset, Extractor, GanzooError, Metric, MetricInputs, ModelMetric, Split
from ganzoo.api.dataset import InvalidDataset
from ganzoo.data import load_part
from ganzoo.errors import unknown
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.neighbours import radii
from ganzoo.registry.loading import PluginInfo, Problem, Zoo
from ganzoo.registry.packages import normal
from ganzoo.registry.registry import KINDS, SUMMARIES, Entry
from ganzoo_checks.checking import (
    CHECKS,
    CPU,
    Check,
    assert_nothing_hidden,
    check,
    create,
    fake_device,
    seed,
    untouched,
)
from ganzoo_checks.isolation import import_problems

BASIC = ("valid", "shape", "logits", "penalty")
"""If one of these fails, ``ganzoo check`` leaves out the entry's ``STEPS``, which would only repeat it."""


def plugin_checks(name: str, zoo: Zoo) -> list[Check]:
    """All checks of a plugin, or of all plugins of a package.

    Both are named as ``ganzoo plugins`` shows them; upper case and underscores do not matter (PEP 503).

    Raises:
        GanzooError: The name is unknown.
    """
    if not __debug__:
        raise GanzooError("Checks are assertions, which Python's option -O leaves out.", "Run them without it.")
    known: set[str] = set()
    checks: list[Check] = []
    plugins = [("problem", one.plugin, one) for one in zoo.problems] + [
        ("plugin", one.name, one) for one in zoo.plugins
    ]
    for kind, plugin, whole in plugins:
        names = {normal(plugin), normal(whole.distribution.rpartition(" ")[0] or whole.distribution)}
        known |= names
        if normal(name) in names:
            subjects = [(kind, f"plugin-{plugin}", whole)]
            subjects += [(one.kind, f"{one.kind}-{one.name}", one) for one in getattr(whole, "registered", ())]
            checks += [
                Check(plugin, thing, check_name, function, subject, zoo)
                for of_kind, thing, subject in subjects
                for check_name, kinds, function in CHECKS
                if of_kind in kinds
            ]
    if not checks:
        raise unknown("plugin", name, known, listing="ganzoo plugins")
    return checks


@check("loads", "problem")
def loads(problem: Problem, zoo: Zoo) -> None:
    """Until this is fixed, ganzoo uses nothing from it."""
    raise GanzooError(problem.sentence)


@check("registers", "plugin")
def registers(plugin: PluginInfo, zoo: Zoo) -> None:
    """Call register(...) in each hook."""
    assert plugin.registered, "registers nothing."


@check("import", "plugin")
def imports(plugin: PluginInfo, zoo: Zoo) -> None:
    """Leave the process alone when it is imported."""
    for problem in import_problems([plugin])[plugin.name]:
        raise AssertionError(problem)


@check("summary", *KINDS)
def summary(entry: Entry[Any], zoo: Zoo) -> None:
    """Write one line of at most 80 characters, without a full stop."""
    assert re.fullmatch(r".{,79}[^.]", entry.summary), f"has the summary {entry.summary!r}."


@check("paper", "loss", "regularizer", "augmentation")
def paper(entry: Entry[Any], zoo: Zoo) -> None:
    """Register it with paper="Authors year, title, arXiv number"; for your own method, your name and the year."""
    assert re.search(r"\b(19|20)\d\d\b", entry.paper or ""), "cites no paper and year."


@check("docstring", *(kind for kind in KINDS if kind not in SUMMARIES))
def docstring(entry: Entry[Any], zoo: Zoo) -> None:
    """Describe it in one sentence."""
    assert _docstrings(entry)[0], "has no docstring."


@check("options-documented", *KINDS)
def options_documented(entry: Entry[Any], zoo: Zoo) -> None:
    """Give each option a line in the docstring's Args section."""
    text = "\n".join(filter(None, _docstrings(entry)))
    documented = re.findall(r"^\s*\**(\w+)(?: \([^)]*\))?:", text, re.MULTILINE)
    missing = ", ".join(name for name in entry.options.types if name not in documented)
    assert not missing, f"does not document its options: {missing}."


def _docstrings(entry: Entry[Any]) -> list[str | None]:
    """A factory's own docstring, then those of its constructor and of its base classes."""
    factory: Any = entry.factory
    while isinstance(factory, partial):
        factory = factory.func
    if not inspect.isclass(factory):
        return [factory.__doc__]
    return [
        text
        for cls in factory.__mro__
        for text in (vars(cls).get("__doc__"), getattr(vars(cls).get("__init__"), "__doc__", None))
    ]


@check("options-types", *KINDS)
def options_types(entry: Entry[Any], zoo: Zoo) -> None:
    """Annotate options with types that YAML can express: int, float, bool, str, Literal, Sequence[int]."""
    for name, schema in entry.options.schema().items():
        assert schema.keys() - {"title", "default", "description"}, f"accepts any value for its option '{name}'."


@check("without-files", "dataset")
@untouched()
def without_files(entry: Entry[Dataset], zoo: Zoo) -> None:
    """Take the split and a folder. If files are missing in it, raise GanzooError(sentence, remedy)."""
    with TemporaryDirectory() as folder:
        try:
            entry.factory("train", Path(folder), **entry.options.check({}))
        except InvalidDataset:
            raise
        except GanzooError:  # which says what is missing
            return
        splits: tuple[Split, ...] = ("train", "train", "test")
        train, again, test = (load_part(entry, entry.options.check({}), Path(folder), split) for split in splits)
    assert torch.equal(train.images, again.images), (
        "returns different samples each time it is built.\nDraw them from a torch.Generator that it seeds itself."
    )
    rows = {row.tobytes() for row in train.images.numpy()}
    shared = sum(row.tobytes() in rows for row in test.images.numpy())
    assert shared <= len(test) / 2, (  # real datasets have a few duplicates
        f"has {shared:,} of the {len(test):,} samples of its test split in its train split too.\n"
        "Divide them by the split it is given: scores compare with samples that were never trained on."
    )
    for what in ("modality", "classes", "column_shapes"):
        assert getattr(train, what) == getattr(test, what), (
            f"has different {what} in its test split.\nGive both splits the same."
        )


@check("features", "extractor")
@untouched()
def features(entry: Entry[Extractor], zoo: Zoo) -> None:
    """Declare shape (one image's), width and classes, and return float32 features (n, width) and logits (n, classes)
    or None, computed from each image alone. Load weights from a file, or draw them from a torch.Generator with a seed.
    """
    if getattr(entry.factory, "downloads", False):
        return
    first, second = (create(entry).eval() for _ in range(2))
    assert first.domains == entry.domains, (
        f"has domains = {first.domains!r}, but its class has {entry.domains!r}.\n"
        "Make domains an attribute of the class: ganzoo reads it before it builds an extractor."
    )
    assert re.fullmatch(r"([0-9a-f]{8,}) \1", f"{first.digest} {second.digest}"), (
        f"has the digest {first.digest!r}.\nUse a hexadecimal digest of its weights, the same each time."
    )
    assert_nothing_hidden(first, {})
    is_picture = len(first.shape) == 3 and tuple(first.shape[:2]) != (1, 1)  # others are stored as networks see them
    images = torch.rand(4, *first.shape) * 2 - 1
    images = torch.randint(256, images.shape, dtype=torch.uint8) if is_picture else images
    found, again, single = (
        extract(entry.name, one, images, CPU, size) for one, size in ((first, None), (second, None), (first, 1))
    )
    for what in ("values", "logits", "projection"):
        one, other, alone = (getattr(each, what) for each in (found, again, single))
        if one is not None:
            assert torch.equal(one, other), "gives different features each time it is built."
            tolerance = 1e-3 * float(one.nan_to_num(neginf=0.0).abs().max())
            assert torch.allclose(one, alone, rtol=1e-3, atol=tolerance), (
                f"gives an image different features if it is alone in its batch ({what})."
            )


@check("direction", "metric")
def direction(entry: Entry[Metric], zoo: Zoo) -> None:
    """Set its attributes as ganzoo.Metric documents them."""
    metric = create(entry)
    for name, kind in get_type_hints(ModelMetric if isinstance(metric, ModelMetric) else Metric).items():
        value = getattr(metric, name, None)
        try:
            TypeAdapter(kind).validate_python(value, strict=True)
        except ValidationError as error:
            raise AssertionError(f"has {name} = {value!r}.\n{error.errors()[0]['msg']}.") from error


@check("score", "metric")
@untouched()
def score(entry: Entry[Metric], zoo: Zoo) -> None:
    """Return a finite number, the same for the same samples; see ganzoo.MetricInputs for what it is given."""
    metric = create(entry)
    n, extractor = max(128, metric.least), _Pixels()
    extractor.classes = 8 if metric.needs_logits else 0  # type: ignore[misc]
    extractor.rejects = metric.rejecting != "refuses"  # type: ignore[misc]
    samples, real, train = (_reference(split, n, extractor) for split in ("train", "test", "train"))
    seen = extractor if metric.needs_features else None
    if isinstance(metric, ModelMetric) or metric.obstacle(seen, real.dataset) is not None:
        return  # the check does not know which model it needs
    tensors = [x for one in (samples, real, train) for x in (one.features.values, one.features.logits) if x is not None]
    before = [tensor.clone() for tensor in tensors]

    def inputs() -> MetricInputs:
        labels = samples.dataset.labels if metric.needs_labels else None
        images = samples.dataset.images
        return MetricInputs(
            n, lambda: samples.features, labels, real, lambda: train, see=real.see, samples=lambda: images
        )

    value = float(metric.compute(inputs()))
    assert all(map(torch.equal, tensors, before)), (
        "changes the features it is given, which other metrics share.\nWork on a copy: values.clone()."
    )
    seed(1)
    again = float(metric.compute(inputs()))
    assert math.isfinite(value), f"gives {value}."
    assert math.isclose(value, again, rel_tol=1e-6), (
        f"gives {value} and {again} for the same samples.\nDraw with a torch.Generator that it seeds itself."
    )
    low, high = metric.interval(inputs(), value) or (value, value)
    assert low <= high, f"gives the interval {low} to {high}.\nReturn (low, high), or None."


class _Pixels(Extractor):
    """Eight pixels as features and, for a classifier, as the logits of eight classes."""

    shape = (1, 28, 28)
    width = 8
    digest = "70797079"

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features (n, 8) and logits (n, 8) or None of images (n, 1, 28, 28)."""
        pixels = images.flatten(1)[:, :8].float() / 255
        is_rejected = pixels[:, :1] > (0.8 if self.rejects else 1)
        return pixels, pixels.masked_fill(is_rejected, -math.inf) if self.classes else None


def _reference(split: Split, n: int, extractor: Extractor) -> Any:
    """Random images as the extractor sees them. Unlike the evaluator's, it leaves nothing in the user's cache."""
    images = torch.randint(256, (n, 1, 28, 28), dtype=torch.uint8)
    dataset = Dataset("toy", split, images, torch.arange(n) % 8, tuple("01234567"))
    seen = extract("toy", extractor, images, CPU)
    return SimpleNamespace(
        dataset=dataset,
        features=seen,
        key={"dataset": "toy", "split": split, "count": n, "content": "0" * 64, "extractor_digest": extractor.digest},
        radii=lambda k: radii(seen.values, k),
        see=lambda images: extract("toy", extractor, images, CPU),
    )


@check("draws", "prior")
@untouched()
def draws(entry: Entry[Any], zoo: Zoo) -> None:
    """Implement sample(n, generator, device): finite float32 codes (n, width), drawn with generator=generator."""
    if set(entry.options.types) - set(entry.options.defaults):
        return
    prior, generator = create(entry), torch.Generator()
    first, again, other = (prior.sample(4, generator.manual_seed(number), CPU) for number in (0, 0, 1))
    returned = f"{tuple(first.shape)} and type {first.dtype}"
    assert returned == f"{(4, prior.width)} and type {torch.float32}", f"draws codes of shape {returned}."
    assert first.isfinite().all(), "draws codes that are not finite."
    assert (first != first[:1]).any(), "draws one code and repeats it.\nDraw n codes."
    is_seeded = torch.equal(first, again) and not torch.equal(first, other)
    assert is_seeded, "does not draw from its generator alone."
    with fake_device() as device:
        codes = create(entry).sample(4, generator, device)
        assert codes.device == device, "ignores the device it is given.\nPass device=device."
