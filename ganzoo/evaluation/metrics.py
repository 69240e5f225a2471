"""ganzoo's own metrics: formulas, some of them torch-fidelity's, inputs and settings; ``requests.py`` names them."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from ganzoo.api.metric import Metric, MetricInputs, ModelMetric, Statistics
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


class FrechetDistance(Metric):
    """Fréchet distance between Gaussians fitted to the features (Heusel et al. 2017)."""

    better = "lower"
    range = "0 and up"

    def compute(self, inputs: MetricInputs) -> float:
        return frechet_distance(inputs.fake.statistics, inputs.real.features.statistics)

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        return intervals.fid_interval(inputs.fake.projected, inputs.real.features.statistics, value)


class FrechetDistanceAtInfinity(Metric):
    """The Fréchet distance, extrapolated to infinitely many samples (Chong and Forsyth 2020)."""

    better = "lower"
    range = "about 0 and up"
    least = 50

    def compute(self, inputs: MetricInputs) -> float:
        return intervals.fid_infinity(inputs.fake.projected, inputs.real.features.statistics)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        return {"points": intervals.POINTS, "smallest": f"1/{intervals.SMALLEST}", "metric_seed": intervals.SEED}


class KernelDistance(Metric):
    """Kernel distance between the features, unbiased (Bińkowski et al. 2018)."""

    better = "lower"
    range = "about 0 and up"

    def compute(self, inputs: MetricInputs) -> float:
        return self._both(inputs)[0]

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        of_subsets = self._both(inputs)[1] ** 2 / KID_SUBSETS
        return intervals.kid_interval(inputs.fake.values, inputs.real.features.values, value, of_subsets, inputs.device)

    def _both(self, inputs: MetricInputs) -> tuple[float, float]:
        return inputs.shared(
            "kernel distance", lambda: kernel_distance(inputs.fake.values, inputs.real.features.values)
        )

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        size = min(KID_SUBSET_SIZE, inputs.n, len(inputs.real.dataset))
        return {"subsets": KID_SUBSETS, "subset_size": size, "metric_seed": intervals.SEED}


class ClassifierScore(Metric):
    """Inception Score with the extractor's own classes: confident about each image, balanced over the classes."""

    better = "higher"
    range = "1 to the number of classes"
    needs_logits = alone = True

    def compute(self, inputs: MetricInputs) -> float:
        return classifier_score(inputs.fake.class_logits)[0]

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        splits = score_splits(inputs.n)
        if splits == 1:
            return None
        deviation = classifier_score(inputs.fake.class_logits)[1]
        return intervals.of_mean_over_splits(value, deviation, splits, (1.0, math.inf))

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        return {"splits": score_splits(inputs.n), "metric_seed": intervals.SEED}


class _Share(Metric):
    range = "0 to 1"
    scale = "share"

    @abstractmethod
    def counted(self, inputs: MetricInputs) -> Tensor:
        """Which samples count, (n,) bool."""

    def compute(self, inputs: MetricInputs) -> float:
        return float(self.counted(inputs).double().mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        return intervals.share_interval(int(self.counted(inputs).sum()), inputs.n)


class _OfClasses(Metric):
    """A statistic of how many samples each class has, with an interval from a bootstrap over the samples' classes."""

    needs_logits = alone = True
    statistic: ClassVar[staticmethod[[Tensor], float]]  # of counts (classes,)
    largest: ClassVar[staticmethod[[int], float]]  # its largest value for a number of classes

    def compute(self, inputs: MetricInputs) -> float:
        return self.statistic(class_counts(inputs.fake.class_logits))

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        counts = class_counts(inputs.fake.class_logits)
        return intervals.of_counts(counts, self.statistic, value, (0.0, self.largest(len(counts))))


class _Neighbours(Metric):
    better = "higher"
    least = max(NEIGHBOURS, PRC_NEIGHBOURS) + 1
    neighbours: int

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

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        return {"neighbours": self.neighbours}


class _Reached(_Neighbours):
    range = "0 to 1"
    scale = "share"
    share_of = "real images"

    @abstractmethod
    def reached(self, inputs: MetricInputs) -> Tensor:
        """Whether a sample of each group reaches each real image, (groups, m) bool."""

    def compute(self, inputs: MetricInputs) -> float:
        return float(self.reached(inputs).any(0).double().mean())

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        return intervals.of_union(self.reached(inputs))


class Precision(_Neighbours, _Share):
    """Share of samples on the manifold of real images (Kynkäänniemi et al. 2019)."""

    neighbours = PRC_NEIGHBOURS

    def counted(self, inputs: MetricInputs) -> Tensor:
        return self.manifolds(inputs).precise


class Recall(_Reached):
    """Share of real images on the manifold of samples (Kynkäänniemi et al. 2019)."""

    neighbours = PRC_NEIGHBOURS

    def reached(self, inputs: MetricInputs) -> Tensor:
        return self.manifolds(inputs).recalled


class Coverage(_Reached):
    """Share of real neighbourhoods that hold a sample (Naeem et al. 2020)."""

    neighbours = NEIGHBOURS

    def reached(self, inputs: MetricInputs) -> Tensor:
        return self.manifolds(inputs).covered


class Density(_Neighbours):
    """Number of real neighbourhoods around a sample, relative to the expected number (Naeem et al. 2020)."""

    range = "0 and up, about 1 for real images"
    neighbours = NEIGHBOURS

    def compute(self, inputs: MetricInputs) -> float:
        return float(self.manifolds(inputs).held.double().mean()) / NEIGHBOURS

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float]:
        return intervals.of_mean(self.manifolds(inputs).held / NEIGHBOURS, (0.0, math.inf))


class ClassCoverage(Metric):
    """Share of the real images' classes that the samples cover."""

    better = "higher"
    range = "0 to 1"
    # Not a "share", although it is one: there are so few classes that all but one of them is no limit of "all".
    needs_logits = True

    def compute(self, inputs: MetricInputs) -> float:
        fake, real = inputs.fake, inputs.real.features
        return class_coverage(class_counts(fake.class_logits), class_counts(real.class_logits))

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        return {"covered_from": COVERED_FROM}

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        covered = partial(class_coverage, real=class_counts(inputs.real.features.class_logits))
        return intervals.of_counts(class_counts(inputs.fake.class_logits), covered, value, (0.0, 1.0))


class ClassEntropy(_OfClasses):
    """Entropy of the samples' classes, in nats."""

    better = "neither"
    range = "0 to the log of the number of classes"
    statistic = staticmethod(class_entropy)
    largest = staticmethod(math.log)


class Accuracy(_Share):
    """Share of samples that the classifier assigns to the requested class."""

    better = "higher"
    needs_logits = needs_labels = held_out = alone = True

    def counted(self, inputs: MetricInputs) -> Tensor:
        assert inputs.labels is not None
        return inputs.fake.class_logits.argmax(1) == inputs.labels


class Memorisation(_Share):
    """Share of samples closer to a training image than that image is to any other (Alaa et al. 2022)."""

    better = "lower"
    range = "0 to 1, 1 for copies"
    held_out = sees_training = True

    def counted(self, inputs: MetricInputs) -> Tensor:
        return inputs.shared(
            "memorised", lambda: memorised(inputs.fake.values, inputs.training_set().features.values, inputs.device)
        )

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        key = inputs.training_set().key
        return {"n_train": key["count"], "train_digest": key["content"]}


class Modes(_OfClasses):
    """Number of modes with at least one sample (Srivastava et al. 2017)."""

    better = "higher"
    range = "0 to the number of modes"
    rejecting = "takes"
    scale = "count"
    statistic = staticmethod(modes_found)
    largest = staticmethod(float)


class ModeDivergence(_OfClasses):
    """KL divergence of the samples' modes from the uniform distribution, in nats (Metz et al. 2017)."""

    better = "lower"
    range = "0 to the log of the number of modes"
    rejecting = "takes"
    statistic = staticmethod(kl_to_uniform)
    largest = staticmethod(math.log)


class Quality(_Share):
    """Share of samples that belong to a mode (Srivastava et al. 2017, VEEGAN, section 4: high-quality samples)."""

    better = "higher"
    needs_logits = alone = True
    rejecting = "needs"

    def counted(self, inputs: MetricInputs) -> Tensor:
        return inputs.fake.class_logits.max(1).values > -math.inf


class ReconstructionDistance(ModelMetric):
    """Fréchet distance between real images and their reconstructions by an autoencoder."""

    better = "lower"
    range = "0 and up"
    calls = "reconstruct"
    does = "reconstructs images"
    needs_features = True

    def compute(self, inputs: MetricInputs) -> float:
        assert inputs.see is not None
        # Both sets come from the same images, so perfect copies score 0.
        again = inputs.real.dataset.modality.from_network(self.outputs(inputs))
        return frechet_distance(inputs.see(again).statistics, inputs.real.features.statistics)
