"""ganzoo's own metrics: formulas, some of them torch-fidelity's; four families; and the metrics, ``OURS``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from ganzoo.api.hookspecs import Register, hookimpl
from ganzoo.api.metric import Better, Metric, MetricInputs, ModelMetric, Statistics
from ganzoo.evaluation import intervals
from ganzoo.evaluation.neighbours import CPU, Manifolds, manifolds, nearest_neighbours, radii

KID_SUBSETS = 100
KID_SUBSET_SIZE = 1000
IS_SPLITS = 10


def frechet_distance(fake: Statistics, real: Statistics) -> float:
    """The Fréchet distance between two Gaussians (Heusel et al. 2017, arXiv:1706.08500, equation 6)."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_statistics_to_metric

    return float(fid_statistics_to_metric(fake, real, verbose=False)[KEY_METRIC_FID])


def kernel_distance(fake: Tensor, real: Tensor) -> tuple[float, float]:
    """Mean and deviation over seeded subsets of the unbiased squared MMD (Bińkowski et al. 2018, arXiv:1801.01401)."""
    from torch_fidelity.metric_kid import KEY_METRIC_KID_MEAN, KEY_METRIC_KID_STD, kid_features_to_metric

    size = min(KID_SUBSET_SIZE, len(fake), len(real))
    result = kid_features_to_metric(
        fake, real, kid_subsets=KID_SUBSETS, kid_subset_size=size, rng_seed=intervals.SEED, verbose=False
    )
    return float(result[KEY_METRIC_KID_MEAN]), float(result[KEY_METRIC_KID_STD])


def classifier_score(logits: Tensor) -> tuple[float, float]:
    """Inception Score from logits (Salimans et al. 2016, arXiv:1606.03498), and its standard deviation over splits."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    result = isc_features_to_metric(logits, splits=score_splits(len(logits)), rng_seed=intervals.SEED)
    return float(result[KEY_METRIC_ISC_MEAN]), float(result[KEY_METRIC_ISC_STD])


def score_splits(n: int) -> int:
    """The number of parts that the classifier score splits images into: up to 10, of at least two images each."""
    return max(1, min(IS_SPLITS, n // 2))


COVERED_FROM = 0.1  # a class is covered from this fraction of its real share; below, it may be misclassified noise


def assigned(logits: Tensor) -> Tensor:
    """The class, or mode, with the largest logit (n, classes) of each sample, without samples that belong to none."""
    largest, classes = logits.max(1)
    return classes[largest > -math.inf]


def class_counts(logits: Tensor) -> Tensor:
    """How many samples belong to each class: int64 (classes,) of logits (n, classes)."""
    return assigned(logits).bincount(minlength=logits.shape[1])


def class_coverage(fake: Tensor, real: Tensor) -> float:
    """The share of the real images' classes that the fake images cover as well, from counts (classes,) of both."""
    there = real > 0
    return float((_shares(fake)[there] >= COVERED_FROM * _shares(real)[there]).double().mean())


def class_entropy(counts: Tensor) -> float:
    """Entropy of counts (classes,), in nats: 0 for one class or no samples, log(classes) for a uniform distribution."""
    return float(torch.special.entr(_shares(counts)).sum())


def modes_found(counts: Tensor) -> float:
    """The number of modes that at least one sample belongs to (Srivastava et al. 2017, VEEGAN, section 4)."""
    return float((counts > 0).sum())


def kl_to_uniform(counts: Tensor) -> float:
    """KL(samples' modes || uniform) in nats (Metz et al. 2017, Unrolled GAN, section 3.3.1).

    By chance, n samples of an ideal generator give about (modes - 1) / (2 n); a single mode, or none, gives log(modes).
    """
    return math.log(len(counts)) - class_entropy(counts)


def _shares(counts: Tensor) -> Tensor:
    return counts.double() / counts.sum().clamp(min=1)


MARGIN, ERRORS = 0.02, 5  # a share is too high this far above real images', or this many standard errors


def memorised(fake: Tensor, train: Tensor, device: torch.device = CPU) -> Tensor:
    """Which fake points are closer to a training point than that is to any other, (n,) bool; copies always are."""
    distances, indices = nearest_neighbours(fake, train, device)
    nearest, inverse = torch.unique(indices, return_inverse=True)
    return distances <= radii(train, 1, nearest, device)[inverse]


def copies(value: float, floor: float, n: int, n_floor: int) -> bool:
    """Whether a share of n samples is too far above that of ``n_floor`` held-out real images for chance."""
    shared = (value * n + floor * n_floor) / (n + n_floor)
    error = math.sqrt(shared * (1 - shared) * (1 / n + 1 / n_floor))
    return value > floor + max(MARGIN, ERRORS * error)


NEIGHBOURS = 5  # for density and coverage, as their paper recommends
PRC_NEIGHBOURS = 3  # for precision and recall, as in their paper

Ends = tuple[float, float] | None
T = TypeVar("T")
Of = Callable[[MetricInputs], T]


class Own(Metric):
    """A metric of ganzoo's own: its name, summary and paper, its settings, and any other attributes of a ``Metric``."""

    def __init__(
        self,
        name: str,
        summary: str,
        paper: str | None,
        better: Better,
        range: str,
        depends_on: Of[Mapping[str, Any]] = lambda inputs: {},
        **traits: Any,
    ) -> None:
        self.name, self.summary, self.paper, self.better, self.range = name, summary, paper, better, range
        self._depends_on = depends_on
        vars(self).update(traits)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        return self._depends_on(inputs)

    def itself(self) -> Own:
        """docs/metrics.md says what it sees, when it misleads, and what it costs."""
        return self


class Distance(Own):
    """Between the distributions of samples and of real images, or of each sample's classes and those of all samples."""

    def __init__(
        self,
        *about: Any,
        value: Of[float],
        ends: Callable[[MetricInputs, float], Ends] = lambda inputs, value: None,
        **traits: Any,
    ) -> None:
        super().__init__(*about, **traits)
        self._value, self._ends = value, ends

    def compute(self, inputs: MetricInputs) -> float:
        return self._value(inputs)

    def interval(self, inputs: MetricInputs, value: float) -> Ends:
        return self._ends(inputs, value)


class Manifold(Own):
    """What lies near the neighbours of real images, or of samples; all are computed in one pass."""

    least = max(NEIGHBOURS, PRC_NEIGHBOURS) + 1

    def __init__(
        self,
        *about: Any,
        neighbours: int,
        value: Callable[[Manifolds], float],
        ends: Callable[[Manifolds], Ends],
        **traits: Any,
    ) -> None:
        super().__init__(*about, **traits)
        self._depends_on = lambda inputs: {"neighbours": neighbours}
        self._value, self._ends = value, ends

    def manifolds(self, inputs: MetricInputs) -> Manifolds:
        return inputs.shared(
            "manifolds",
            lambda: manifolds(
                inputs.fake.values,
                inputs.real.features.values,
                coverage_radii=inputs.real.radii(NEIGHBOURS),
                precision_radii=inputs.real.radii(PRC_NEIGHBOURS),
                recall_radii=radii(inputs.fake.values, PRC_NEIGHBOURS, device=inputs.device),
                device=inputs.device,
            ),
        )

    def compute(self, inputs: MetricInputs) -> float:
        return self._value(self.manifolds(inputs))

    def interval(self, inputs: MetricInputs, value: float) -> Ends:
        return self._ends(self.manifolds(inputs))


class ClassCounts(Own):
    """A statistic of how many samples each class has, and if it is not ``alone``, real images too.

    Its interval is a bootstrap over the samples' classes.
    """

    needs_logits = True

    def __init__(
        self,
        *about: Any,
        statistic: Callable[..., float],  # of counts (classes,)
        largest: Callable[[int], float],  # its largest value for a number of classes
        **traits: Any,
    ) -> None:
        super().__init__(*about, **traits)
        self._statistic, self._largest = statistic, largest

    def _of(self, inputs: MetricInputs) -> Callable[[Tensor], float]:
        if self.alone:
            return self._statistic
        return partial(self._statistic, real=class_counts(inputs.real.features.class_logits))

    def compute(self, inputs: MetricInputs) -> float:
        return self._of(inputs)(class_counts(inputs.fake.class_logits))

    def interval(self, inputs: MetricInputs, value: float) -> Ends:
        counts = class_counts(inputs.fake.class_logits)
        return intervals.of_counts(counts, self._of(inputs), value, (0.0, self._largest(len(counts))))


class Share(Own):
    """The share of samples that count."""

    scale = "share"

    def __init__(self, *about: Any, counted: Of[Tensor], **traits: Any) -> None:
        super().__init__(*about, **traits)
        self._counted = counted  # (n,) bool

    def compute(self, inputs: MetricInputs) -> float:
        return share(self._counted(inputs))

    def interval(self, inputs: MetricInputs, value: float) -> Ends:
        return share_ends(self._counted(inputs))


def share(counted: Tensor) -> float:
    """The share of a boolean tensor (n,) that is true."""
    return float(counted.double().mean())


def share_ends(counted: Tensor) -> tuple[float, float]:
    """Its interval."""
    return intervals.share_interval(int(counted.sum()), len(counted))


def _kernel(inputs: MetricInputs) -> tuple[float, float]:
    return inputs.shared("kernel distance", lambda: kernel_distance(inputs.fake.values, inputs.real.features.values))


def _kernel_ends(inputs: MetricInputs, value: float) -> Ends:
    of_subsets = _kernel(inputs)[1] ** 2 / KID_SUBSETS
    return intervals.kid_interval(inputs.fake.values, inputs.real.features.values, value, of_subsets, inputs.device)


def _score_ends(inputs: MetricInputs, value: float) -> Ends:
    splits = score_splits(inputs.n)
    if splits == 1:
        return None
    deviation = classifier_score(inputs.fake.class_logits)[1]
    return intervals.of_mean_over_splits(value, deviation, splits, (1.0, math.inf))


def _as_requested(inputs: MetricInputs) -> Tensor:
    assert inputs.labels is not None
    return inputs.fake.class_logits.argmax(1) == inputs.labels


def _memorised(inputs: MetricInputs) -> Tensor:
    return inputs.shared(
        "memorised", lambda: memorised(inputs.fake.values, inputs.training_set().features.values, inputs.device)
    )


def _training_key(inputs: MetricInputs) -> Mapping[str, Any]:
    key = inputs.training_set().key
    return {"n_train": key["count"], "train_digest": key["content"]}


class ReconstructionDistance(ModelMetric):
    """Fréchet distance between real images and their reconstructions by an autoencoder."""

    name, summary, paper = "reconstruction-fid", "Fréchet distance between real images and reconstructions", None
    better = "lower"
    range = "0 and up"
    calls = "reconstruct"
    does = "reconstructs images"
    needs_features = True

    def itself(self) -> ReconstructionDistance:
        """It tells what a decoder loses; docs/metrics.md says when it misleads."""
        return self

    def compute(self, inputs: MetricInputs) -> float:
        assert inputs.see is not None
        # Both sets come from the same images, so perfect copies score 0.
        again = inputs.real.dataset.modality.from_network(self.outputs(inputs))
        return frechet_distance(inputs.see(again).statistics, inputs.real.features.statistics)


KYNKAANNIEMI = "Kynkäänniemi et al. 2019, Improved Precision and Recall Metric, arXiv:1904.06991"
NAEEM = "Naeem et al. 2020, Reliable Fidelity and Diversity Metrics for Generative Models, arXiv:2002.09797"
SRIVASTAVA = "Srivastava et al. 2017, VEEGAN, arXiv:1705.07761"

OURS: tuple[Own | ReconstructionDistance, ...] = (  # in the order of `all`
    Distance(
        "fid",
        "Fréchet distance between Gaussians fitted to the features",
        "Heusel et al. 2017, GANs Trained by a Two Time-Scale Update Rule, arXiv:1706.08500",
        "lower",
        "0 and up",
        value=lambda inputs: frechet_distance(inputs.fake.statistics, inputs.real.features.statistics),
        ends=lambda inputs, value: intervals.fid_interval(
            inputs.fake.projected, inputs.real.features.statistics, value
        ),
    ),
    Distance(
        "fid-infinity",
        "FID extrapolated to infinitely many samples",
        "Chong and Forsyth 2020, Effectively Unbiased FID and Inception Score, arXiv:1911.07023",
        "lower",
        "about 0 and up",
        lambda inputs: {
            "points": intervals.POINTS,
            "smallest": f"1/{intervals.SMALLEST}",
            "metric_seed": intervals.SEED,
        },
        value=lambda inputs: intervals.fid_infinity(inputs.fake.projected, inputs.real.features.statistics),
        least=50,
    ),
    Distance(
        "kid",
        "Kernel distance between the features, unbiased",
        "Bińkowski et al. 2018, Demystifying MMD GANs, arXiv:1801.01401",
        "lower",
        "about 0 and up",
        lambda inputs: {
            "subsets": KID_SUBSETS,
            "subset_size": min(KID_SUBSET_SIZE, inputs.n, len(inputs.real.dataset)),
            "metric_seed": intervals.SEED,
        },
        value=lambda inputs: _kernel(inputs)[0],
        ends=_kernel_ends,
    ),
    Distance(
        "is",
        "Classifier score: confident about each image, balanced over classes",
        "Salimans et al. 2016, Improved Techniques for Training GANs, arXiv:1606.03498",
        "higher",
        "1 to the number of classes",
        lambda inputs: {"splits": score_splits(inputs.n), "metric_seed": intervals.SEED},
        value=lambda inputs: classifier_score(inputs.fake.class_logits)[0],
        ends=_score_ends,
        needs_logits=True,
        alone=True,
    ),
    Manifold(
        "precision",
        "Share of samples on the manifold of real images",
        KYNKAANNIEMI,
        "higher",
        "0 to 1",
        neighbours=PRC_NEIGHBOURS,
        value=lambda seen: share(seen.precise),
        ends=lambda seen: share_ends(seen.precise),
        scale="share",
    ),
    Manifold(
        "recall",
        "Share of real images on the manifold of samples",
        KYNKAANNIEMI,
        "higher",
        "0 to 1",
        neighbours=PRC_NEIGHBOURS,
        value=lambda seen: share(seen.recalled.any(0)),
        ends=lambda seen: intervals.of_union(seen.recalled),
        scale="share",
        share_of="real images",
    ),
    Manifold(
        "density",
        "Number of real neighbourhoods around a sample, relative to the expected number",
        NAEEM,
        "higher",
        "0 and up, about 1 for real images",
        neighbours=NEIGHBOURS,
        value=lambda seen: float(seen.held.double().mean()) / NEIGHBOURS,
        ends=lambda seen: intervals.of_mean(seen.held / NEIGHBOURS, (0.0, math.inf)),
    ),
    Manifold(
        "coverage",
        "Share of real neighbourhoods that hold a sample",
        NAEEM,
        "higher",
        "0 to 1",
        neighbours=NEIGHBOURS,
        value=lambda seen: share(seen.covered.any(0)),
        ends=lambda seen: intervals.of_union(seen.covered),
        scale="share",
        share_of="real images",
    ),
    ClassCounts(
        "class-coverage",
        "Share of the real images' classes that the samples cover",
        None,
        "higher",
        "0 to 1",
        lambda inputs: {"covered_from": COVERED_FROM},
        # Not a "share", although it is one: there are so few classes that all but one of them is no limit of "all".
        statistic=class_coverage,
        largest=lambda classes: 1.0,
    ),
    ClassCounts(
        "class-entropy",
        "Entropy of the samples' classes in nats",
        None,
        "neither",
        "0 to the log of the number of classes",
        statistic=class_entropy,
        largest=math.log,
        alone=True,
    ),
    Share(
        "accuracy",
        "Share of samples that show the requested class",
        None,
        "higher",
        "0 to 1",
        counted=_as_requested,
        needs_logits=True,
        needs_labels=True,
        held_out=True,
        alone=True,
    ),
    Share(
        "memorisation",
        "Share of samples closer to a training image than that image is to any other",
        "Alaa et al. 2022, How Faithful is your Synthetic Data?, arXiv:2102.08921",
        "lower",
        "0 to 1, 1 for copies",
        _training_key,
        counted=_memorised,
        held_out=True,
        sees_training=True,
    ),
    ClassCounts(
        "modes",
        "Number of modes with at least one sample",
        SRIVASTAVA,
        "higher",
        "0 to the number of modes",
        statistic=modes_found,
        largest=float,
        alone=True,
        rejecting="takes",
        scale="count",
    ),
    ClassCounts(
        "kl",
        "KL divergence of the samples' modes from the uniform distribution, in nats",
        "Metz et al. 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163",
        "lower",
        "0 to the log of the number of modes",
        statistic=kl_to_uniform,
        largest=math.log,
        alone=True,
        rejecting="takes",
    ),
    Share(
        "quality",
        "Share of samples that belong to a mode",  # VEEGAN, section 4: high-quality samples
        SRIVASTAVA,
        "higher",
        "0 to 1",
        counted=lambda inputs: inputs.fake.class_logits.max(1).values > -math.inf,
        needs_logits=True,
        alone=True,
        rejecting="needs",
    ),
    ReconstructionDistance(),
)


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    """Register ganzoo's own metrics."""
    for metric in OURS:
        register(metric.name, metric.itself, summary=metric.summary, paper=metric.paper)
