"""What can be measured: ganzoo's own metrics, registered through the hook that plugins use; requests for metrics and
extractors by name; and the metrics that fit a dataset.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ganzoo.api.hookspecs import Register, hookimpl
from ganzoo.api.metric import Better, Extractor, Metric
from ganzoo.config.checking import headline, how_to_score, unknown_extractor, wrong_metric
from ganzoo.errors import GanzooError
from ganzoo.evaluation import pretrained, torch_fidelity
from ganzoo.evaluation.metrics import (
    Accuracy,
    ClassCoverage,
    ClassEntropy,
    ClassifierScore,
    Coverage,
    Density,
    FrechetDistance,
    FrechetDistanceAtInfinity,
    KernelDistance,
    Memorisation,
    ModeDivergence,
    Modes,
    Precision,
    Quality,
    Recall,
    ReconstructionDistance,
)
from ganzoo.registry.packages import OURS as GANZOO
from ganzoo.registry.registry import ALL, FOREIGN_EXTRACTORS

if TYPE_CHECKING:
    from ganzoo.api.dataset import Dataset
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry

KYNKAANNIEMI = "Kynkäänniemi et al. 2019, Improved Precision and Recall Metric, arXiv:1904.06991"
NAEEM = "Naeem et al. 2020, Reliable Fidelity and Diversity Metrics for Generative Models, arXiv:2002.09797"
SRIVASTAVA = "Srivastava et al. 2017, VEEGAN, arXiv:1705.07761"

Row = tuple[str, type[Metric], str, str | None]
OURS: tuple[Row, ...] = (
    (
        "fid",
        FrechetDistance,
        "Fréchet distance between Gaussians fitted to the features",
        "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv:1706.08500",
    ),
    (
        "fid-infinity",
        FrechetDistanceAtInfinity,
        "FID extrapolated to infinitely many samples",
        "Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score, arXiv:1911.07023",
    ),
    (
        "kid",
        KernelDistance,
        "Kernel distance between the features, unbiased",
        "Bińkowski et al. 2018, Demystifying MMD GANs, arXiv:1801.01401",
    ),
    (
        "is",
        ClassifierScore,
        "Classifier score: confident about each image, balanced over classes",
        "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498",
    ),
    ("precision", Precision, "Share of samples on the manifold of real images", KYNKAANNIEMI),
    ("recall", Recall, "Share of real images on the manifold of samples", KYNKAANNIEMI),
    ("density", Density, "Number of real neighbourhoods around a sample, relative to the expected number", NAEEM),
    ("coverage", Coverage, "Share of real neighbourhoods that hold a sample", NAEEM),
    ("class-coverage", ClassCoverage, "Share of the real images' classes that the samples cover", None),
    ("class-entropy", ClassEntropy, "Entropy of the samples' classes in nats", None),
    ("accuracy", Accuracy, "Share of samples that show the requested class", None),
    (
        "memorisation",
        Memorisation,
        "Share of samples closer to a training image than that image is to any other",
        "Alaa et al. 2022, How Faithful is your Synthetic Data?, arXiv:2102.08921",
    ),
    ("modes", Modes, "Number of modes with at least one sample", SRIVASTAVA),
    (
        "kl",
        ModeDivergence,
        "KL divergence of the samples' modes from the uniform distribution, in nats",
        "Metz et al. 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163",
    ),
    ("quality", Quality, "Share of samples that belong to a mode", SRIVASTAVA),
    ("reconstruction-fid", ReconstructionDistance, "Fréchet distance between real images and reconstructions", None),
)
"""Name, class, summary and paper, in the order of ``all@...``."""


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    """Register ganzoo's own metrics."""
    for name, metric, summary, paper in OURS:
        register(name, metric, summary=summary, paper=paper)


def better(name: str, zoo: Zoo | None = None) -> Better:
    """Whether lower or higher scores of a metric are better; ``lower`` if it is not installed.

    Args:
        name: The part before the ``@``.
        zoo: Where plugins' metrics are looked up; the installed plugins by default.
    """
    ours = {name: metric.better for name, metric, _, _ in OURS}
    if name in ours:
        return ours[name]
    if zoo is None:
        from ganzoo.registry.loading import load_zoo

        zoo = load_zoo()
    return zoo.metric(name).better if name in zoo.metrics else "lower"


@dataclass(frozen=True)
class MetricRequest:
    """A request for a metric in an extractor's features.

    Attributes:
        entry: The metric's registration.
        metric: The metric to compute.
        extractor: The name of the extractor that it is computed with; empty for a metric that needs no features.
        by_name: Whether it was requested by its own name, not as one of ``all``.
    """

    entry: Entry[Metric]
    metric: Metric
    extractor: str
    by_name: bool = True

    @property
    def name(self) -> str:
        """The name that users write: ``fid@mnist-cnn``, or ``test-error``."""
        return f"{self.entry.name}@{self.extractor}" if self.extractor else self.entry.name

    @property
    def is_ours(self) -> bool:
        """Whether ganzoo itself provides the metric."""
        return any(type(self.metric) is ours for _, ours, _, _ in OURS)


def parse_metric(name: str, zoo: Zoo) -> list[MetricRequest]:
    """Parse ``<metric>@<extractor>``; ``all@<extractor>`` gives a request for each metric that needs an extractor.

    Raises:
        GanzooError: It does not have that form, or names an unknown metric or extractor.
    """
    for error in wrong_metric(name, zoo, ALL):
        raise error
    metric, _, extractor = name.partition("@")
    if metric == ALL:
        known_metrics = [(entry, zoo.metric(entry.name)) for entry in zoo.metrics.in_order()]
        return [MetricRequest(e, one, extractor, by_name=False) for e, one in known_metrics if one.needs_features]
    return [MetricRequest(zoo.metrics.get(metric), zoo.metric(metric), extractor)]


def parse_metrics(names: Iterable[str], zoo: Zoo) -> list[MetricRequest]:
    """Parse several names; a metric that is requested twice is returned once."""
    requests: dict[str, MetricRequest] = {}
    for request in (one for name in names for one in parse_metric(name, zoo)):
        if request.name not in requests or request.by_name:
            requests[request.name] = request
    return list(requests.values())


def code_of(extractor: str, zoo: Zoo) -> dict[str, str]:
    """What features depend on apart from the extractor's weights: the package that computes them, and its code.

    Empty for ganzoo's own extractors, whose features stay the same from version to version. A plugin's code may change
    within a version while its author works on it.
    """
    if extractor not in zoo.extractors:
        return {"torch_fidelity": torch_fidelity.version()}
    entry = zoo.extractors.get(extractor)
    if entry.distribution.partition(" ")[0] == GANZOO:
        return {}
    factory = entry.factory
    while isinstance(factory, partial):
        factory = factory.func
    return {"plugin": entry.distribution, "source": _source(factory.__module__)}


@cache  # a file that is edited later is not the code that this process runs
def _source(module: str) -> str:
    """SHA-256, hexadecimal, of all .py files of a module's top-level package, or of the module's own file."""
    package, file = sys.modules.get(module.partition(".")[0]), getattr(sys.modules.get(module), "__file__", None)
    files = [path for folder in getattr(package, "__path__", ()) for path in sorted(Path(folder).rglob("*.py"))]
    digest = hashlib.sha256()
    for path in files or ([] if file is None else [Path(file)]):
        if path.is_file():  # editors lock files with dangling links
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


Shape = tuple[int, ...]


def find_extractor(name: str, zoo: Zoo, shape: Shape, weights: Path | None = None) -> Extractor:
    """The extractor with the given name, on the CPU, in evaluation mode.

    Args:
        name: A registered name, or one of torch-fidelity's.
        zoo: Where registered extractors are looked up.
        shape: The shape of the images to score.
        weights: The weights file of one of torch-fidelity's extractors; None means the one in its cache.

    Raises:
        GanzooError: The name is unknown, the extractor does not accept such images, or its weights are not available.
    """
    extractor = _load(name, zoo, shape, weights)
    refuse_other_shape(name, extractor, shape)
    return extractor


def _load(name: str, zoo: Zoo, shape: Shape, weights: Path | None = None) -> Extractor:
    """Like ``find_extractor``, also if it does not accept such images."""
    registered = name in zoo.extractors
    if not registered and name not in FOREIGN_EXTRACTORS:
        raise unknown_extractor(name, zoo)
    if registered and weights is not None:
        raise GanzooError(
            f"The extractor '{name}' has its own weights, so it does not accept {weights}.",
            f"These accept a file: {', '.join(FOREIGN_EXTRACTORS)}.",
        )
    # Layers draw random weights before the trained ones are loaded; this must not shift a run's random numbers.
    with torch.random.fork_rng(devices=[]):
        extractor = zoo.extractors.get(name).create() if registered else pretrained.build(name, shape, weights)
    return extractor.eval().requires_grad_(False)


def refuse_other_shape(name: str, extractor: Extractor, shape: Shape) -> None:
    """Raise unless the extractor accepts images of the given shape: images are never resampled to fit."""
    if tuple(extractor.shape) != shape:
        accepted = written(extractor.shape)
        raise GanzooError(
            f"The extractor '{name}' accepts {accepted} images, but these are {written(shape)}.",
            "Nothing is resampled, because that alone changes a score; use another extractor or dataset.",
        )


def fits(extractor: Extractor, domain: str) -> bool:
    """Whether an extractor was fitted to the given dataset, or is one for any images."""
    return not extractor.domains or domain in extractor.domains


def fitting_metrics(
    metrics: Sequence[str], zoo: Zoo, dataset: Dataset, *, anyway: bool = False
) -> tuple[list[str], list[str], dict[str, Extractor]]:
    """The metrics of a recipe that can score its dataset, and why the others cannot.

    Args:
        metrics: Names of the form ``<metric>@<extractor>``.
        zoo: Where extractors are looked up.
        dataset: The dataset whose samples are scored.
        anyway: Whether extractors that were fitted to another dataset are accepted too.

    Returns:
        The metrics that fit; a message for each extractor that does not fit and, if no metric fits, one that suggests a
        remedy; and the extractors of the metrics that fit, on the CPU.
    """
    kept, sentences, extractors = [], [], dict[str, Extractor]()
    by_extractor: dict[str, list[str]] = {}
    for name in metrics:
        by_extractor.setdefault(name.partition("@")[2], []).append(name)
    for extractor, names in by_extractor.items():
        if not extractor:  # metrics of the trained model, which need no extractor
            kept += names
            continue
        try:
            loaded = _load(extractor, zoo, dataset.shape)
            # Images of the extractor's shape would not help a metric that it cannot score on this dataset.
            for name in list(names) if tuple(loaded.shape) != dataset.shape else ():
                obstacles = [one.metric.obstacle(loaded, dataset) for one in parse_metric(name, zoo)]
                if all(obstacles):
                    sentences.append(f"Not scored by {name}: {obstacles[0]}.")
                    names.remove(name)
            if not names:
                continue
            refuse_other_shape(extractor, loaded, dataset.shape)
        except GanzooError as error:
            if extractor not in zoo.extractors:
                raise  # its weights are missing; it is not that it does not fit
            sentences.append(f"Not scored by {', '.join(names)}: {error.sentence}")
            continue
        if anyway or fits(loaded, dataset.domain):
            kept += names
            extractors[extractor] = loaded
        else:
            domains = " and ".join(loaded.domains)
            sentences.append(
                f"Not scored by {', '.join(names)}: '{extractor}' was fitted to {domains}, not to '{dataset.domain}' "
                "(evaluate.anyway: true scores by them anyway, and marks the scores permanently)."
            )
    if not kept:
        fault = f"no metric of its recipe fits the dataset '{dataset.domain}'. {how_to_score(dataset.domain, zoo)}"
        if not metrics and headline(dataset.domain, zoo):  # without a headline, it may have been [headline]
            remedy = "Request the dataset's headline metrics: --set evaluate.metrics=[headline]."
            fault = f"evaluate.metrics is empty. {remedy}"
        sentences.append(f"This run gets no scores: {fault}")
    return [name for name in metrics if name in kept], sentences, extractors


def written(shape: Shape) -> str:
    """A shape in words: ``28x28 grey``."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
