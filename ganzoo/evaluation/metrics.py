"""ganzoo's own metrics, registered through the hook that plugins use; and how metrics are asked for by name."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.hookspecs import Register, hookimpl
from ganzoo.api.metric import Better, Metric, MetricInputs
from ganzoo.errors import GanzooError, nearest
from ganzoo.evaluation import extrapolation, torch_fidelity
from ganzoo.evaluation.neighbours import density_and_coverage, nearest_neighbours, radii

if TYPE_CHECKING:
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry

COVERED_FROM = 0.1
"""A class is covered from this part of its share among real images on; below, it may be misread noise."""


def shares(logits: Tensor) -> Tensor:
    """The share of images in each class, by the largest logit.

    Args:
        logits: (n, classes).

    Returns:
        (classes,) float64, of sum 1.
    """
    return logits.argmax(1).bincount(minlength=logits.shape[1]).double() / len(logits)


def class_coverage(fake: Tensor, real: Tensor) -> float:
    """The part of the classes that real images show which fake images show as well.

    Args:
        fake: Logits (n, classes).
        real: Logits (m, classes).

    Returns:
        0 to 1.
    """
    wanted, found = shares(real), shares(fake)
    there = wanted > 0
    return float((found[there] >= COVERED_FROM * wanted[there]).double().mean())


def class_entropy(logits: Tensor) -> float:
    """Entropy of the classes that images fall into, in nats: 0 for one class, log(classes) for an even spread."""
    return float(torch.special.entr(shares(logits)).sum())


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """The share of images that the classifier puts into the class they were asked to be of.

    Args:
        logits: (n, classes).
        labels: int64 (n,).
    """
    return float((logits.argmax(1) == labels).double().mean())


def assigned(logits: Tensor) -> Tensor:
    """The mode of each sample that belongs to one.

    Args:
        logits: (n, modes).

    Returns:
        int64 (m,), m at most n: the samples that belong to no mode are left out.
    """
    return logits[logits.amax(1) > -math.inf].argmax(1)


def modes_found(logits: Tensor) -> int:
    """The number of modes that at least one sample belongs to (Srivastava et al. 2017, VEEGAN, section 4).

    Args:
        logits: (n, modes).
    """
    return int((_counts(logits) > 0).sum())


def kl_to_uniform(logits: Tensor) -> float:
    """KL(samples' modes || uniform) in nats (Metz et al. 2017, Unrolled GAN, section 3.3.1).

    Even an ideal generator's is not 0: n samples give about (modes - 1) / (2 n) by chance.

    Args:
        logits: (n, modes). Samples that belong to no mode do not count.

    Returns:
        0 for modes that are equally often, log(modes) where there is but one, and also where no sample belongs to any.
    """
    counts = _counts(logits)
    share = counts.double() / counts.sum().clamp(min=1)
    return math.log(len(counts)) - float(torch.special.entr(share).sum())


def quality(logits: Tensor) -> float:
    """The share of samples that belong to a mode (Srivastava et al. 2017, VEEGAN, section 4: high-quality samples).

    Args:
        logits: (n, modes).
    """
    return len(assigned(logits)) / len(logits)


def _counts(logits: Tensor) -> Tensor:
    """How many samples belong to each mode."""
    return assigned(logits).bincount(minlength=logits.shape[1])


MARGIN = 0.02
ERRORS = 5


def memorised(fake: Tensor, train: Tensor) -> float:
    """The share of fake points closer to a training point than that one is to any other.

    Args:
        fake: (n, width) float32.
        train: (m, width) float32.

    Returns:
        0 to 1; 1 for copies, also of training points that are there twice.
    """
    distances, indices = nearest_neighbours(fake, train)
    found, which = torch.unique(indices, return_inverse=True)
    return float((distances <= radii(train, 1, of=found)[which]).double().mean())


def copies(value: float, floor: float, n: int, n_floor: int) -> bool:
    """Whether a share is so far above that of real images never trained on that chance does not explain it.

    Args:
        value: What the images score.
        floor: What held-out real images score.
        n: How many images there were.
        n_floor: How many held-out ones.
    """
    shared = (value * n + floor * n_floor) / (n + n_floor)
    error = sqrt(shared * (1 - shared) * (1 / n + 1 / n_floor))
    return value > floor + max(MARGIN, ERRORS * error)


NEIGHBOURS = 5
"""Of density and coverage, as their paper recommends."""


class FrechetDistance(Metric):
    """Distance between Gaussians that are fitted to the features (Heusel et al. 2017)."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs: MetricInputs) -> float:
        """Squared units of the features; biased upwards, the more the fewer samples there are."""
        return torch_fidelity.frechet_distance(inputs.fake.statistics, inputs.real.features.statistics)

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        """By a bootstrap over the samples, which takes seconds."""
        return extrapolation.fid_interval(inputs.fake.projected, inputs.real.features.statistics, value)


class FrechetDistanceAtInfinity(Metric):
    """The Fréchet distance, extrapolated to infinitely many samples (Chong and Forsyth 2020)."""

    better = "lower"
    range = "about 0 and up"
    least = 50

    def compute(self, inputs: MetricInputs) -> float:
        """See ``extrapolation.fid_infinity``."""
        return extrapolation.fid_infinity(inputs.fake.projected, inputs.real.features.statistics)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The line through the scores of subsets."""
        smallest = f"1/{extrapolation.SMALLEST}"
        return {"points": extrapolation.POINTS, "smallest": smallest, "metric_seed": extrapolation.SEED}


class KernelDistance(Metric):
    """Kernel distance between the features, unbiased (Bińkowski et al. 2018)."""

    better = "lower"
    range = "about 0 and up"

    def compute(self, inputs: MetricInputs) -> float:
        """See ``torch_fidelity.kernel_distance``."""
        return torch_fidelity.kernel_distance(inputs.fake.values, inputs.real.features.values)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The seeded subsets."""
        size = torch_fidelity.kernel_subset(inputs.n, len(inputs.real.dataset))
        return {"subsets": torch_fidelity.KID_SUBSETS, "subset_size": size, "metric_seed": torch_fidelity.SEED}


class ClassifierScore(Metric):
    """Inception Score with the extractor's own classes: sure about each image, even over classes."""

    better = "higher"
    range = "1 to the number of classes"
    needs_logits = alone = True

    def compute(self, inputs: MetricInputs) -> float:
        """See ``torch_fidelity.classifier_score``."""
        return torch_fidelity.classifier_score(inputs.fake.class_logits)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The parts over which the score is averaged."""
        return {"splits": torch_fidelity.score_splits(inputs.n), "metric_seed": torch_fidelity.SEED}


class _PrecisionOrRecall(Metric):
    better = "higher"
    range = "0 to 1"
    least = torch_fidelity.PRC_NEIGHBOURS + 1

    def both(self, inputs: MetricInputs) -> tuple[float, float]:
        """Precision and recall, computed together."""
        fake, real = inputs.fake.values, inputs.real.features.values
        return inputs.shared("precision and recall", lambda: torch_fidelity.precision_and_recall(fake, real))

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The neighbour that a ball around an image reaches to."""
        return {"neighbours": torch_fidelity.PRC_NEIGHBOURS}


class Precision(_PrecisionOrRecall):
    """Share of samples among real images (Kynkäänniemi et al. 2019)."""

    def compute(self, inputs: MetricInputs) -> float:
        """See ``torch_fidelity.precision_and_recall``."""
        return self.both(inputs)[0]


class Recall(_PrecisionOrRecall):
    """Share of real images among samples (Kynkäänniemi et al. 2019)."""

    def compute(self, inputs: MetricInputs) -> float:
        """See ``torch_fidelity.precision_and_recall``."""
        return self.both(inputs)[1]


class _DensityOrCoverage(Metric):
    better = "higher"
    least = NEIGHBOURS + 1

    def both(self, inputs: MetricInputs) -> tuple[float, float]:
        """Density and coverage, computed together."""
        fake, real = inputs.fake.values, inputs.real
        return inputs.shared(
            "density and coverage",
            lambda: density_and_coverage(fake, real.features.values, real.radii(NEIGHBOURS), NEIGHBOURS),
        )

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The neighbour that a ball around a real image reaches to."""
        return {"neighbours": NEIGHBOURS}


class Density(_DensityOrCoverage):
    """Real neighbourhoods around a sample, relative to what is expected (Naeem et al. 2020)."""

    range = "0 and up, about 1 for real images"

    def compute(self, inputs: MetricInputs) -> float:
        """See ``neighbours.density_and_coverage``."""
        return self.both(inputs)[0]


class Coverage(_DensityOrCoverage):
    """Share of real neighbourhoods that hold a sample (Naeem et al. 2020)."""

    range = "0 to 1"

    def compute(self, inputs: MetricInputs) -> float:
        """See ``neighbours.density_and_coverage``."""
        return self.both(inputs)[1]


class ClassCoverage(Metric):
    """Share of the real images' classes that the samples show."""

    better = "higher"
    range = "0 to 1"
    needs_logits = True

    def compute(self, inputs: MetricInputs) -> float:
        """See ``class_coverage``."""
        return class_coverage(inputs.fake.class_logits, inputs.real.features.class_logits)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """From which share on a class counts."""
        return {"covered_from": COVERED_FROM}


class ClassEntropy(Metric):
    """Entropy of the samples' classes."""

    better = "neither"
    range = "0 to the log of the number of classes"
    needs_logits = alone = True

    def compute(self, inputs: MetricInputs) -> float:
        """In nats."""
        return class_entropy(inputs.fake.class_logits)


class Accuracy(Metric):
    """Share of samples that the classifier puts into the class that was asked for."""

    better = "higher"
    range = "0 to 1"
    needs_logits = needs_labels = held_out = alone = True

    def compute(self, inputs: MetricInputs) -> float:
        """See ``accuracy``."""
        assert inputs.labels is not None
        return accuracy(inputs.fake.class_logits, inputs.labels)


class Memorisation(Metric):
    """Share of samples closer to a training image than that image is to any other (Alaa et al. 2022)."""

    better = "lower"
    range = "0 to 1, 1 for copies"
    held_out = True

    def compute(self, inputs: MetricInputs) -> float:
        """See ``memorised``."""
        return memorised(inputs.fake.values, inputs.training_set().features.values)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """The training set, which need not be the reference."""
        key = inputs.training_set().key
        return {"n_train": key["count"], "train_digest": key["content"]}


class Modes(Metric):
    """Number of modes that have a sample (Srivastava et al. 2017)."""

    better = "higher"
    range = "0 to the number of modes"
    needs_logits = alone = True
    rejecting = "takes"

    def compute(self, inputs: MetricInputs) -> float:
        """See ``modes_found``."""
        return float(modes_found(inputs.fake.class_logits))


class ModeDivergence(Metric):
    """KL divergence of the samples' modes from evenness (Metz et al. 2017)."""

    better = "lower"
    range = "0 to the log of the number of modes"
    needs_logits = alone = True
    rejecting = "takes"

    def compute(self, inputs: MetricInputs) -> float:
        """In nats; see ``kl_to_uniform``."""
        return kl_to_uniform(inputs.fake.class_logits)


class Quality(Metric):
    """Share of samples that belong to a mode (Srivastava et al. 2017)."""

    better = "higher"
    range = "0 to 1"
    needs_logits = alone = True
    rejecting = "needs"

    def compute(self, inputs: MetricInputs) -> float:
        """See ``quality``."""
        return quality(inputs.fake.class_logits)


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
        "Classifier score: sure about each image, even over classes",
        "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498",
    ),
    ("precision", Precision, "Share of samples among real images", KYNKAANNIEMI),
    ("recall", Recall, "Share of real images among samples", KYNKAANNIEMI),
    ("density", Density, "Real neighbourhoods around a sample, relative to what is expected", NAEEM),
    ("coverage", Coverage, "Share of real neighbourhoods that hold a sample", NAEEM),
    ("class-coverage", ClassCoverage, "Share of the real images' classes that the samples show", None),
    ("class-entropy", ClassEntropy, "Entropy of the samples' classes in nats", None),
    ("accuracy", Accuracy, "Share of samples that show the class that was asked for", None),
    (
        "memorisation",
        Memorisation,
        "Share of samples closer to a training image than that is to any other",
        "Alaa et al. 2022, How Faithful is your Synthetic Data?, arXiv:2102.08921",
    ),
    ("modes", Modes, "Number of modes that have a sample", SRIVASTAVA),
    (
        "kl",
        ModeDivergence,
        "KL divergence of the samples' modes from evenness, in nats",
        "Metz et al. 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163",
    ),
    ("quality", Quality, "Share of samples that belong to a mode", SRIVASTAVA),
)
"""Name, class, summary and paper, in the order in which ``all@...`` gives them."""


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    """Ours."""
    for name, metric, summary, paper in OURS:
        register(name, metric, summary=summary, paper=paper)


ALL = "all"
"""Stands for every metric that applies: ``all@mnist-cnn``."""


@dataclass(frozen=True)
class MetricRequest:
    """A metric in an extractor's features.

    Attributes:
        entry: The metric's registration.
        metric: What is computed.
        extractor: The name of the extractor it is computed in.
        by_name: Whether it was asked for itself, and not among ``all``.
    """

    entry: Entry[Metric]
    metric: Metric
    extractor: str
    by_name: bool = True

    @property
    def name(self) -> str:
        """As people write it: ``fid@mnist-cnn``."""
        return f"{self.entry.name}@{self.extractor}"

    @property
    def is_ours(self) -> bool:
        """Whether ganzoo itself brings it."""
        return type(self.metric).__module__ == __name__


def parse_metric(name: str, zoo: Zoo) -> list[MetricRequest]:
    """Read ``<metric>@<extractor>``; ``all@<extractor>`` gives one for each metric.

    Raises:
        GanzooError: It is not of that form, or names an unknown metric.
    """
    metric, at, extractor = name.partition("@")
    if not (at and extractor):
        raise GanzooError(
            f"The metric '{name}' names no extractor.", "Write <metric>@<extractor>, such as fid@mnist-cnn."
        )
    if metric == ALL:
        return [MetricRequest(one, zoo.metric(one.name), extractor, by_name=False) for one in zoo.metrics.in_order()]
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


def better(name: str, zoo: Zoo | None = None) -> Better:
    """Which way a metric is better; lower for one that is not installed.

    Args:
        name: What stands before the ``@``.
        zoo: Where others' metrics are looked up; the installed plugins by default.
    """
    ours = {name: metric.better for name, metric, _, _ in OURS}
    if name in ours:
        return ours[name]
    if zoo is None:
        from ganzoo.registry.loading import load_zoo

        zoo = load_zoo()
    return zoo.metric(name).better if name in zoo.metrics else "lower"
