"""What is to be measured: a metric in an extractor's features, each found by its name; and what fits a dataset."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganzoo.api.metric import Extractor, Metric
from ganzoo.config.checking import how_to_score
from ganzoo.config.schema import FOREIGN_EXTRACTORS
from ganzoo.errors import GanzooError, nearest, unknown
from ganzoo.evaluation import pretrained
from ganzoo.evaluation.metrics import OURS

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.api.dataset import Dataset
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry

ALL = "all"
"""Stands for every metric that applies: ``all@mnist-cnn``."""


@dataclass(frozen=True)
class MetricRequest:
    """A metric in an extractor's features.

    Attributes:
        entry: The metric's registration.
        metric: What is computed.
        extractor: The name of the extractor it is computed in; empty for a metric that needs no features.
        by_name: Whether it was asked for itself, and not among ``all``.
    """

    entry: Entry[Metric]
    metric: Metric
    extractor: str
    by_name: bool = True

    @property
    def name(self) -> str:
        """As people write it: ``fid@mnist-cnn``, or ``test-error``."""
        return f"{self.entry.name}@{self.extractor}" if self.extractor else self.entry.name

    @property
    def is_ours(self) -> bool:
        """Whether ganzoo itself brings it."""
        return any(type(self.metric) is ours for _, ours, _, _ in OURS)


def parse_metric(name: str, zoo: Zoo) -> list[MetricRequest]:
    """Read ``<metric>@<extractor>``; ``all@<extractor>`` gives one for each metric that needs an extractor.

    Raises:
        GanzooError: It is not of that form, or names an unknown metric.
    """
    metric, at, extractor = name.partition("@")
    if metric in zoo.metrics and not zoo.metric(metric).needs_features:
        if at:
            raise GanzooError(f"The metric '{metric}' needs no extractor (in '{name}').", f"Write {metric}.")
        return [MetricRequest(zoo.metrics.get(metric), zoo.metric(metric), "")]
    if not (at and extractor):
        raise GanzooError(
            f"The metric '{name}' names no extractor.", "Write <metric>@<extractor>, such as fid@mnist-cnn."
        )
    if metric == ALL:
        known_metrics = [(entry, zoo.metric(entry.name)) for entry in zoo.metrics.in_order()]
        return [MetricRequest(e, one, extractor, by_name=False) for e, one in known_metrics if one.needs_features]
    if metric not in zoo.metrics:
        known = [ALL, *(entry.name for entry in zoo.metrics)]
        remedy = f"{nearest(metric, known)} {zoo.metrics.hint}".strip()
        raise GanzooError(f"Unknown metric '{metric}' (in '{name}').", remedy)
    return [MetricRequest(zoo.metrics.get(metric), zoo.metric(metric), extractor)]


def parse_metrics(names: Iterable[str], zoo: Zoo) -> list[MetricRequest]:
    """Read many names; a metric that is asked for twice is there once."""
    found: dict[str, MetricRequest] = {}
    for request in (one for name in names for one in parse_metric(name, zoo)):
        if request.name not in found or request.by_name:
            found[request.name] = request
    return list(found.values())


Shape = tuple[int, ...]


def find_extractor(name: str, zoo: Zoo, shape: Shape, weights: Path | None = None) -> Extractor:
    """The extractor of that name, on the CPU, in evaluation mode.

    Args:
        name: A registered name, or one of torch-fidelity's.
        zoo: Where plugins registered theirs.
        shape: Of the images to score.
        weights: The file of one of torch-fidelity's; None is where that keeps it.

    Raises:
        GanzooError: Its name is unknown, it takes other images, or its weights are not available.
    """
    if name in zoo.extractors:
        if weights is not None:
            raise GanzooError(
                f"The extractor '{name}' brings its own weights, so it does not take {weights}.",
                f"These take a file: {', '.join(FOREIGN_EXTRACTORS)}.",
            )
        extractor = zoo.extractors.get(name).create()
    elif name in FOREIGN_EXTRACTORS:
        extractor = pretrained.build(name, shape, weights)
    else:
        known = [*(entry.name for entry in zoo.extractors), *FOREIGN_EXTRACTORS]
        raise unknown("extractor", name, known, zoo.extractors.hint)
    refuse_other_shape(name, extractor, shape)
    return extractor.eval().requires_grad_(False)


def refuse_other_shape(name: str, extractor: Extractor, shape: Shape) -> None:
    """Raise unless the extractor takes images of that shape: they are never resampled to fit."""
    if tuple(extractor.shape) != shape:
        takes = written(extractor.shape)
        raise GanzooError(
            f"The extractor '{name}' takes {takes} images, but these are {written(shape)}.",
            "Nothing is resampled, because that alone changes a score; use another extractor or dataset.",
        )


def knows(extractor: Extractor, world: str) -> bool:
    """Whether an extractor was fitted to images of that dataset, or to any images."""
    return not extractor.worlds or world in extractor.worlds


def fitting_metrics(
    metrics: Sequence[str], zoo: Zoo, dataset: Dataset, *, anyway: bool = False
) -> tuple[list[str], list[str]]:
    """The metrics of a recipe that its dataset can be scored by, and why the others cannot.

    Args:
        metrics: ``<metric>@<extractor>`` each.
        zoo: Where extractors are looked up.
        dataset: Whose samples are scored.
        anyway: Whether extractors that were fitted to another dataset are taken too.

    Returns:
        Those that fit, and a sentence for each extractor that does not; where nothing fits, one that says what to do.
    """
    kept, sentences = [], []
    for extractor, names in _by_extractor(metrics).items():
        if not extractor:  # metrics of the trained model, which need none
            kept += names
            continue
        try:
            found = find_extractor(extractor, zoo, dataset.shape)
        except GanzooError as error:
            if extractor not in zoo.extractors:
                raise  # its weights are missing, not its world
            sentences.append(f"Not scored by {', '.join(names)}: {error.sentence}")
            continue
        if anyway or knows(found, dataset.world):
            kept += names
        else:
            worlds = " and ".join(found.worlds)
            sentences.append(
                f"Not scored by {', '.join(names)}: '{extractor}' was fitted to {worlds}, not to '{dataset.world}' "
                "(evaluate.anyway: true scores all the same, and marks the scores for good)."
            )
    if not kept:
        sentences.append(f"This run gets no scores. {how_to_score(dataset.world, zoo)}")
    return [name for name in metrics if name in kept], sentences


def _by_extractor(metrics: Sequence[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in metrics:
        found.setdefault(name.partition("@")[2], []).append(name)
    return found


def written(shape: Shape) -> str:
    """A shape as people write it: ``28x28 grey``."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
