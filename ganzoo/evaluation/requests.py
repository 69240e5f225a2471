"""What can be measured: requests for metrics and extractors by name, and the metrics that fit a dataset."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import torch

from ganzoo.api.dataset import Dataset
from ganzoo.api.metric import Better, Extractor, Metric
from ganzoo.config.checking import headline, how_to_score, wrong_metric
from ganzoo.errors import GanzooError
from ganzoo.evaluation.metrics import OURS
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.registry.packages import OURS as GANZOO
from ganzoo.registry.registry import ALL, Entry


def better(name: str, zoo: Zoo | None = None) -> Better:
    """Whether lower or higher scores of a metric are better; ``lower`` if it is not among the installed ones."""
    zoo = zoo or load_zoo()
    return zoo.metric(name).better if name in zoo.metrics else "lower"


@dataclass(frozen=True, eq=False)  # a plugin's metric may have no hash
class MetricRequest:
    """A request for a metric in an extractor's features."""

    entry: Entry[Metric]
    metric: Metric
    extractor: str  # empty for a metric that needs no features
    by_name: bool = True  # not as one of `all`

    @property
    def name(self) -> str:
        """The name that users write: ``fid@mnist-cnn``, or ``test-error``."""
        return f"{self.entry.name}@{self.extractor}" if self.extractor else self.entry.name

    @property
    def is_ours(self) -> bool:
        """Whether ganzoo itself provides the metric."""
        return self.metric in OURS


def parse_metrics(names: Iterable[str], zoo: Zoo) -> list[MetricRequest]:
    """Parse ``<metric>@<extractor>``, each once; ``all@<extractor>`` requests each metric that needs an extractor."""
    requests: dict[str, MetricRequest] = {}
    for name in names:
        if error := wrong_metric(name, zoo, ALL):
            raise error
        metric, _, extractor = name.partition("@")
        by_name = metric != ALL
        for entry in [zoo.metrics.get(metric)] if by_name else zoo.metrics.in_order():
            request = MetricRequest(entry, zoo.metric(entry.name), extractor, by_name)
            if by_name or (request.metric.needs_features and request.name not in requests):
                requests[request.name] = request
    return list(requests.values())


def code_of(extractor: str, zoo: Zoo) -> dict[str, str]:
    """What features depend on apart from the extractor's weights: the package that computes them, and its code.

    Empty for ganzoo's own extractors, whose features stay the same from version to version. A plugin's code may change
    within a version while its author works on it.
    """
    entry = zoo.extractors.get(extractor)
    if entry.distribution.partition(" ")[0] == GANZOO:
        return {}
    factory = entry.factory.func if isinstance(entry.factory, partial) else entry.factory
    return {"plugin": entry.distribution, "source": _source(factory.__module__)}


@cache  # a file that is edited later is not the code that this process runs
def _source(module: str) -> str:
    """SHA-256, hexadecimal, of all .py files of a module's top-level package, or of the module's own file."""
    package, file = sys.modules.get(module.partition(".")[0]), getattr(sys.modules.get(module), "__file__", None)
    files = [path for folder in getattr(package, "__path__", ()) for path in sorted(Path(folder).rglob("*.py"))]
    files = files or ([] if file is None else [Path(file)])
    # Editors lock files with dangling links.
    digests = [hashlib.sha256(path.read_bytes()).digest() for path in files if path.is_file()]
    return hashlib.sha256(b"".join(digests)).hexdigest()


def find_extractor(name: str, zoo: Zoo, weights: Path | None = None) -> Extractor:
    """The extractor with the given name, on the CPU, in evaluation mode; with its own weights, or those in a file."""
    entry, options = zoo.extractors.get(name), {}
    if weights is not None:
        if "weights" not in entry.options.types:
            accepting = [one.name for one in zoo.extractors.in_order() if "weights" in one.options.types]
            raise GanzooError(
                f"The extractor '{name}' has its own weights, so it does not accept {weights}.",
                f"These accept a file: {', '.join(accepting)}." if accepting else "",
            )
        options = entry.options.check({"weights": str(weights)})
    # Layers draw random weights before the trained ones are loaded; this must not shift a run's random numbers.
    with torch.random.fork_rng(devices=[]):
        return entry.create(**options).eval().requires_grad_(False)


def unfit(name: str, extractor: Extractor, dataset: Dataset, zoo: Zoo, *, anyway: bool = False) -> GanzooError | None:
    """Why an extractor cannot judge a dataset's samples; None if it can, or ``anyway`` if it was fitted to another."""
    if not extractor.accepts(dataset.shape):
        return GanzooError(
            f"The extractor '{name}' accepts {written(extractor.shape)} images, but these are "
            f"{written(dataset.shape)}.",
            "Nothing is resampled, because that alone changes a score; use another extractor or dataset.",
        )
    if fits(extractor, dataset.domain) or anyway:
        return None
    return GanzooError(
        f"'{name}' was fitted to {' and '.join(extractor.domains)}, not to '{dataset.domain}': its features mean "
        "little for such images.",
        f"{how_to_score(dataset.domain, zoo)} To use it anyway, add --anyway (in Python anyway=True, in a recipe "
        "evaluate.anyway: true), which marks the scores permanently.",
    )


def fits(extractor: Extractor, domain: str) -> bool:
    """Whether an extractor was fitted to the given dataset, or is one for any images."""
    return not extractor.domains or domain in extractor.domains


def fitting_metrics(
    metrics: Sequence[str], zoo: Zoo, dataset: Dataset, *, anyway: bool = False, alone: bool = False
) -> tuple[list[str], list[str], dict[str, Extractor]]:
    """A recipe's metrics that fit its dataset; messages why others do not; and the extractors, by name, on the CPU.

    ``alone`` says that no real images are held out.
    """
    kept, sentences, extractors = [], [], dict[str, Extractor]()
    refused: dict[str, list[str]] = {}
    for name in metrics:
        metric, _, extractor = name.partition("@")
        if extractor and extractor not in extractors:
            extractors[extractor] = find_extractor(extractor, zoo)
        error = unfit(extractor, extractors[extractor], dataset, zoo, anyway=anyway) if extractor else None
        if error is None and alone and zoo.metric(metric).held_out:
            sentences.append(f"Not scored by {name}: no images are held out. Set dataset.validation=N to hold out N.")
        elif error is None:
            kept.append(name)
        # An extractor that fits would not help a metric that cannot score this dataset in any.
        elif obstacle := zoo.metric(metric).obstacle(extractors[extractor], dataset):
            sentences.append(f"Not scored by {name}: {obstacle}.")
        else:
            refused.setdefault(str(error), []).append(name)
    sentences += [f"Not scored by {', '.join(names)}: {sentence}" for sentence, names in refused.items()]
    if not kept:
        fault = f"no metric of its recipe fits the dataset '{dataset.domain}'. {how_to_score(dataset.domain, zoo)}"
        if not metrics and headline(dataset.domain, zoo):  # without a headline, it may have been [headline]
            fault = (
                "evaluate.metrics is empty. Request the dataset's headline metrics: --set evaluate.metrics=[headline]."
            )
        sentences.append(f"This run gets no scores: {fault}")
    return kept, sentences, extractors


def written(shape: tuple[int, ...]) -> str:
    """A shape in words: ``28x28 grey``."""
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
