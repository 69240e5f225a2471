"""The metrics, one row each, and what they are computed with."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import sqrt
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, nearest
from ganzoo.evaluation import extrapolation, torch_fidelity
from ganzoo.evaluation.neighbours import density_and_coverage, nearest_neighbours, radii
from ganzoo.recipes.schema import METRICS as BETTER

if TYPE_CHECKING:
    from ganzoo.api.dataset import ImageDataset
    from ganzoo.api.extractor import Extractor
    from ganzoo.evaluation.features import Features
    from ganzoo.evaluation.reference_cache import RealImages
    from ganzoo.recipes.schema import Better

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


@dataclass(frozen=True)
class Case:
    """A set of images before the judge, as one extractor sees it.

    Attributes:
        n: Number of images.
        look: Gives their features; called at most once.
        labels: int64 (n,), the classes they were asked to be of, or None.
        real: The reference.
        training_set: Gives the training set; it is large, and only memorisation asks for it.
    """

    n: int
    look: Callable[[], Features]
    labels: Tensor | None
    real: RealImages
    training_set: Callable[[], RealImages]

    @cached_property
    def fake(self) -> Features:
        """The images' features."""
        return self.look()

    @cached_property
    def precision_and_recall(self) -> tuple[float, float]:
        """See ``torch_fidelity.precision_and_recall``."""
        return torch_fidelity.precision_and_recall(self.fake.values, self.real.features.values)

    @cached_property
    def density_and_coverage(self) -> tuple[float, float]:
        """See ``neighbours.density_and_coverage``."""
        real = self.real
        return density_and_coverage(self.fake.values, real.features.values, real.radii(NEIGHBOURS), NEIGHBOURS)


ALL = "all"
"""Stands for every metric that applies: ``all@mnist-cnn``."""


@dataclass(frozen=True)
class Metric:
    """A number that says how generated images compare with real ones.

    Attributes:
        name: What stands before the ``@``.
        summary: One line.
        range: Its values, in words.
        compute: The value.
        settings: What it depends on beside images and extractor, for the protocol.
        least: As many images it takes on each side.
        logits: Whether the extractor must be a classifier.
        labels: Whether images must come with the classes they were asked to be of.
        held_out: Whether its floor must be real images that nothing was ever trained on.
        rejecting: What it does with an extractor that may put an image into no class.
        alone: Whether it looks at the samples by themselves, and not at the reference.
    """

    name: str
    summary: str
    range: str
    compute: Callable[[Case], float]
    settings: Callable[[Case], Mapping[str, Any]] = field(default=lambda _: {})
    least: int = 2
    logits: bool = False
    labels: bool = False
    held_out: bool = False
    rejecting: Literal["refuses", "takes", "needs"] = "refuses"
    alone: bool = False

    @property
    def better(self) -> Better:
        """Which way is better: lower, higher, or neither, where the floor itself is best."""
        return BETTER[self.name]

    def obstacle(self, extractor: Extractor, dataset: ImageDataset) -> str | None:
        """Why it cannot be computed with this extractor on this dataset; None where it can."""
        if self.logits and not extractor.classes:
            return "its extractor is no classifier"
        if self.logits and extractor.rejects and self.rejecting == "refuses":
            return "its extractor puts some images into no class"
        if not extractor.rejects and self.rejecting == "needs":
            return "its extractor puts every image into a class"
        if self.labels and (dataset.labels is None or extractor.classes != len(dataset.classes)):
            return f"its extractor tells other classes apart than those of '{dataset.name}'"
        return None


def _fid(case: Case) -> float:
    return torch_fidelity.frechet_distance(case.fake.statistics, case.real.features.statistics)


def _fid_infinity(case: Case) -> float:
    return extrapolation.fid_infinity(case.fake.values, case.real.features.statistics)


def _kid(case: Case) -> float:
    return torch_fidelity.kernel_distance(case.fake.values, case.real.features.values)


def _memorisation(case: Case) -> float:
    return memorised(case.fake.values, case.training_set().features.values)


def _accuracy(case: Case) -> float:
    assert case.labels is not None
    return accuracy(_logits(case.fake.logits), case.labels)


def _class_coverage(case: Case) -> float:
    return class_coverage(_logits(case.fake.logits), _logits(case.real.features.logits))


def _logits(logits: Tensor | None) -> Tensor:
    assert logits is not None
    return logits


def _kid_settings(case: Case) -> Mapping[str, Any]:
    size = torch_fidelity.kernel_subset(case.n, len(case.real.dataset))
    return {"subsets": torch_fidelity.KID_SUBSETS, "subset_size": size, "metric_seed": torch_fidelity.SEED}


def _is_settings(case: Case) -> Mapping[str, Any]:
    return {"splits": torch_fidelity.score_splits(case.n), "metric_seed": torch_fidelity.SEED}


def _line(_: Case) -> Mapping[str, Any]:
    return {
        "points": extrapolation.POINTS,
        "smallest": f"1/{extrapolation.SMALLEST}",
        "metric_seed": extrapolation.SEED,
    }


def _training_set(case: Case) -> Mapping[str, Any]:
    key = case.training_set().key
    return {"n_train": key["count"], "train_digest": key["content"]}


def _three(_: Case) -> Mapping[str, Any]:
    return {"neighbours": torch_fidelity.PRC_NEIGHBOURS}


def _five(_: Case) -> Mapping[str, Any]:
    return {"neighbours": NEIGHBOURS}


METRICS = {
    metric.name: metric
    for metric in [
        Metric("fid", "Fréchet distance between Gaussians fitted to the features", "0 and up", _fid),
        Metric(
            "fid-infinity",
            "FID extrapolated to endlessly many samples",
            "about 0 and up",
            _fid_infinity,
            _line,
            least=50,
        ),
        Metric("kid", "kernel distance between the features, unbiased", "about 0 and up", _kid, _kid_settings),
        Metric(
            "is",
            "classifier score: sure about each image, even over classes",
            "1 to the number of classes",
            lambda case: torch_fidelity.classifier_score(_logits(case.fake.logits)),
            _is_settings,
            logits=True,
            alone=True,
        ),
        Metric(
            "precision",
            "share of samples that lie among real images",
            "0 to 1",
            lambda case: case.precision_and_recall[0],
            _three,
            least=torch_fidelity.PRC_NEIGHBOURS + 1,
        ),
        Metric(
            "recall",
            "share of real images that lie among samples",
            "0 to 1",
            lambda case: case.precision_and_recall[1],
            _three,
            least=torch_fidelity.PRC_NEIGHBOURS + 1,
        ),
        Metric(
            "density",
            "how many real neighbourhoods a sample lies in, against what is expected",
            "0 and up, about 1 for real images",
            lambda case: case.density_and_coverage[0],
            _five,
            least=NEIGHBOURS + 1,
        ),
        Metric(
            "coverage",
            "share of real neighbourhoods that hold a sample",
            "0 to 1",
            lambda case: case.density_and_coverage[1],
            _five,
            least=NEIGHBOURS + 1,
        ),
        Metric(
            "class-coverage",
            "share of the real images' classes that the samples show",
            "0 to 1",
            _class_coverage,
            lambda _: {"covered_from": COVERED_FROM},
            logits=True,
        ),
        Metric(
            "class-entropy",
            "entropy of the samples' classes in nats",
            "0 to the log of the number of classes",
            lambda case: class_entropy(_logits(case.fake.logits)),
            logits=True,
            alone=True,
        ),
        Metric(
            "accuracy",
            "share of samples that show the class they were asked to",
            "0 to 1",
            _accuracy,
            logits=True,
            labels=True,
            held_out=True,
            alone=True,
        ),
        Metric(
            "memorisation",
            "share of samples closer to a training image than that is to any other",
            "0 to 1, 1 for copies",
            _memorisation,
            _training_set,
            held_out=True,
        ),
        Metric(
            "modes",
            "number of modes that have a sample",
            "0 to the number of modes",
            lambda case: float(modes_found(_logits(case.fake.logits))),
            logits=True,
            rejecting="takes",
            alone=True,
        ),
        Metric(
            "kl",
            "KL divergence of the samples' modes from evenness, in nats",
            "0 to the log of the number of modes",
            lambda case: kl_to_uniform(_logits(case.fake.logits)),
            logits=True,
            rejecting="takes",
            alone=True,
        ),
        Metric(
            "quality",
            "share of samples that belong to a mode",
            "0 to 1",
            lambda case: quality(_logits(case.fake.logits)),
            logits=True,
            rejecting="needs",
            alone=True,
        ),
    ]
}


@dataclass(frozen=True)
class Wanted:
    """A metric in an extractor's features.

    Attributes:
        metric: What is computed.
        extractor: The name of the extractor it is computed in.
        by_name: Whether it was asked for itself, and not among ``all``.
    """

    metric: Metric
    extractor: str
    by_name: bool = True

    @property
    def name(self) -> str:
        """As people write it: ``fid@mnist-cnn``."""
        return f"{self.metric.name}@{self.extractor}"


def parse(name: str) -> list[Wanted]:
    """Read ``<metric>@<extractor>``; ``all@<extractor>`` gives one for each metric.

    Raises:
        GanzooError: It is not of that form, or there is no such metric.
    """
    metric, at, extractor = name.partition("@")
    if not (at and extractor):
        raise GanzooError(
            f"The metric '{name}' names no extractor.", "Write <metric>@<extractor>, such as fid@mnist-cnn."
        )
    if metric == ALL:
        return [Wanted(known, extractor, by_name=False) for known in METRICS.values()]
    if metric not in METRICS:
        raise GanzooError(f"There is no metric called '{metric}' (in '{name}').", nearest(metric, [*METRICS, ALL]))
    return [Wanted(METRICS[metric], extractor)]


def parse_all(names: Iterable[str]) -> list[Wanted]:
    """Read many names; a metric that is asked for twice is there once."""
    found: dict[str, Wanted] = {}
    for wanted in (one for name in names for one in parse(name)):
        if wanted.name not in found or wanted.by_name:
            found[wanted.name] = wanted
    return list(found.values())
