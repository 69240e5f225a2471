"""Measuring samples: extractors compute features of images, and metrics compare them with those of real images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Literal, Protocol, TypeVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from ganzoo.api.dataset import Dataset
from ganzoo.api.objective import Networks, Objective
from ganzoo.errors import Diverged, GanzooError
from ganzoo.reproducibility import canonical_order, full_precision, seeded

Statistics = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]
code_is_allowed = ContextVar("code_is_allowed", default=False)


@contextmanager
def allowing_code(allowed: bool = True) -> Iterator[None]:
    """Let code that is part of no plugin run in this block. Only the user may decide this, never a file."""
    token = code_is_allowed.set(allowed or code_is_allowed.get())
    try:
        yield
    finally:
        code_is_allowed.reset(token)


def check_code_allowed(extractor: str, code: str) -> None:
    """Refuse to run code that is part of no plugin, unless the user allowed it.

    Args:
        extractor: The name of the extractor that needs it.
        code: What it is, and where it comes from.

    Raises:
        GanzooError: The user did not allow it.
    """
    if not code_is_allowed.get():
        raise GanzooError(
            f"The extractor '{extractor}' runs code that is not part of ganzoo: {code}.",
            "If you trust it, add --allow-code (in Python: allow_code=True).",
        )


class Extractor(nn.Module):
    """A fixed extractor of the features that scores are computed from.

    Attributes:
        shape: The image size that it accepts, (channels, height, width); others are refused, never resampled.
        width: Number of features.
        classes: Number of classes that it distinguishes; 0 if it is not a classifier.
        rejects: Whether it may reject an image, that is, assign it to no class.
        resizing: How it resizes images, as a score's protocol records it; ``none`` if it does not.
        batch_size: Images per batch: as many as fit into a small GPU's memory.
        least: The fewest samples, and the fewest real images, that it tells apart from chance. Metrics that compare
            samples with the training images, and not with the reference, also take fewer.
        domains: The datasets that it was fitted to, such as ``("mnist",)``: others are scored only if the user insists
            (``--anyway``). Empty if it is meant for any images.
        downloads: Whether its weights are downloaded, so that checks do not build it. If users may name a file instead
            (``--extractor-weights``), its factory takes ``*, weights: Path | None = None``.
    """

    shape: ClassVar[tuple[int, ...]]
    width: ClassVar[int]
    classes: ClassVar[int] = 0
    rejects: ClassVar[bool] = False
    resizing: str = "none"
    batch_size: ClassVar[int] = 500
    least: ClassVar[int] = 2
    domains: ClassVar[tuple[str, ...]] = ()
    downloads: ClassVar[bool] = False

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of the weights. Part of every score's protocol, and of the key of cached statistics."""

    @property
    def projection(self) -> Tensor | None:
        """A matrix (width, k) to multiply features by before Gaussians are fitted to them, for instance to whiten them.

        Only Fréchet distances use it; everything else uses the features unchanged. None if Fréchet distances do too.
        """
        return None

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of libraries that its features depend on: part of the key of cached features."""
        return {}

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Whether it accepts images of a shape. One that resizes images itself also accepts others than ``shape``."""
        return tuple(self.shape) == shape

    def resizing_of(self, shape: tuple[int, ...]) -> str:
        """How it resizes images of a shape that it accepts, as a score's protocol records it."""
        return self.resizing

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class logits of images.

        Args:
            images: uint8 (n, c, h, w); an extractor for points takes float32 in [-1, 1].

        Returns:
            Features (n, width) float32, and logits (n, classes) float32 or None. All logits of an image that belongs
            to no class are -inf.
        """


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class Features:
    """An extractor's outputs for a set of images.

    Attributes:
        values: (n, width) float32, on the CPU.
        logits: (n, classes) float32, on the CPU; None if the extractor is not a classifier.
        projection: The extractor's ``projection``, (width, k) on the CPU, or None.
    """

    values: Tensor
    logits: Tensor | None = None
    projection: Tensor | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, rows: Tensor) -> Features:
        """The features of some images, by their indices (m,)."""
        return Features(self.values[rows], None if self.logits is None else self.logits[rows], self.projection)

    @cached_property
    def projected(self) -> Tensor:
        """The coordinates that Gaussians are fitted in: (n, k) float64 with a projection, otherwise ``values``."""
        return self.values if self.projection is None else self.values.double() @ self.projection.double()

    @cached_property
    def statistics(self) -> Statistics:
        """Mean ``mu`` (k,) and covariance ``sigma`` (k, k) of ``projected``, float64; n at least 2."""
        from torch_fidelity.metric_fid import fid_features_to_statistics

        # torch-fidelity averages in the input's type, and a float32 sum of many rows depends on their order.
        statistics = fid_features_to_statistics(self.projected)
        sigma = np.atleast_2d(statistics["sigma"])  # numpy's covariance of a single feature is a number
        return {"mu": self.projected.mean(0, dtype=torch.float64).numpy(), "sigma": sigma}

    @property
    def class_logits(self) -> Tensor:
        """The logits, for an extractor that is a classifier.

        Raises:
            ValueError: It is not a classifier; a metric with ``needs_logits`` never gets such an extractor.
        """
        if self.logits is None:
            raise ValueError("The extractor is not a classifier, so it has no logits.")
        return self.logits


CPU = torch.device("cpu")
SEED = 0  # of the order of a trained model's batches, and of its networks' random numbers
T = TypeVar("T")
Better = Literal["lower", "higher", "neither"]  # neither: the score of real images is best
Scale = Literal["ratio", "count", "share"]  # how two scores compare; share: from 0 to 1, by the ratio of odds
ShareOf = Literal["samples", "real images"]  # what a share is a share of


class Reference(Protocol):
    """Real images and one extractor's features of them; expensive results come from a cache."""

    @property
    def dataset(self) -> Dataset:
        """The images, with labels if they have any."""

    @property
    def key(self) -> Mapping[str, Any]:
        """What their features depend on, as JSON: ``count``, ``content`` (a digest), ``extractor_digest``, ..."""

    @property
    def features(self) -> Features:
        """Their features."""

    def radii(self, k: int) -> Tensor:
        """The distance from each image to the k-th nearest of the others, (n,) float64."""


@dataclass(frozen=True)
class TrainedModel:
    """A trained model.

    Attributes:
        objective: The objective that was optimised.
        networks: Networks by role, at least those in ``objective.samples_with``, on ``device``.
        device: The device of the networks.
        batch_size: Images per batch.
    """

    objective: Objective
    networks: Networks
    device: torch.device
    batch_size: int = 500

    def apply(self, name: str, dataset: Dataset) -> Tensor:
        """Apply one of the objective's methods to a whole dataset, with the networks in evaluation mode.

        Batches are drawn at random with a fixed seed: otherwise, if the dataset is sorted by class, a layer that uses
        the complete batch would see a single class. Batch sizes differ by at most one image. The order of the dataset
        does not affect the results.

        Args:
            name: The method's name. It is called as ``method(networks, images, label)``, with images (n, *shape) as
                networks see them and labels (n,), zeros if there are none.
            dataset: The images.

        Returns:
            The results, in the order of the images, on the CPU.

        Raises:
            Diverged: Some results are NaN or infinite.
        """
        method, modality = getattr(self.objective, name), dataset.modality
        labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
        order = canonical_order(dataset.images)
        order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(SEED))]
        results = []
        with torch.no_grad(), evaluating(self.networks), full_precision(self.device), seeded(SEED, self.device):
            for rows in order.tensor_split(-(-len(order) // self.batch_size)):
                images = modality.to_network(dataset.images[rows].to(self.device))
                outputs = method(self.networks, images, labels[rows].to(self.device))
                if outputs.is_floating_point() and not outputs.isfinite().all():
                    raise Diverged(
                        f"The model's '{name}' returns NaN or infinite values.",
                        "Its training has diverged; lower the learning rate.",
                    )
                results.append(outputs.cpu())
        return torch.cat(results)[order.argsort()]


@contextmanager
def evaluating(networks: Networks) -> Iterator[None]:
    """Put networks into evaluation mode for the block, then restore each module's mode."""
    modes = [(module, module.training) for network in networks.values() for module in network.modules()]
    try:
        for network in networks.values():
            network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(frozen=True, eq=False)  # tensors do not compare to one truth value
class MetricInputs:
    """A metric's inputs: samples and real images, with one extractor's features of them.

    Attributes:
        n: Number of samples, at least 2.
        extract: Returns the samples' features; called at most once.
        labels: int64 (n,), the requested classes, or None.
        real: The reference: real images that the samples are compared with.
        training_set: Returns the images that the generator was trained on. There are many, so call it only if needed.
        device: The device for large computations, such as distances between all images. Inputs and results are on the
            CPU.
        model: The trained model, for a ``ModelMetric``; None if only its samples are available.
        see: Returns the features of any images, given in their modality's stored form.
        samples: Returns the samples themselves, (n, *shape) in their modality's stored form; None in ``settings``.
    """

    n: int
    extract: Callable[[], Features]
    labels: Tensor | None
    real: Reference
    training_set: Callable[[], Reference]
    device: torch.device = CPU
    model: TrainedModel | None = None
    see: Callable[[Tensor], Features] | None = None
    samples: Callable[[], Tensor] | None = None
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def fake(self) -> Features:
        """The samples' features."""
        return self.extract()

    def shared(self, name: str, compute: Callable[[], T]) -> T:
        """The result of ``compute``, computed once for all metrics that request it under this name."""
        if name not in self._shared:
            self._shared[name] = compute()
        return cast("T", self._shared[name])


class Metric(ABC):
    """A number that tells how samples compare with real images.

    Attributes:
        better: Whether lower or higher values are better.
        range: Its range in words: ``0 to 1``.
        least: The fewest samples, and the fewest real images, that it accepts.
        needs_logits: Whether the extractor must be a classifier.
        needs_labels: Whether samples must come with the requested classes.
        held_out: Whether its floor (real vs real) must use real images that nothing was trained on.
        sees_training: Whether it uses the training images, so that its value depends on how many there were.
        rejecting: How it treats an extractor that may assign an image to no class (``Extractor.rejects``): it
            ``refuses`` such an extractor, also ``takes`` it, or ``needs`` one.
        alone: Whether it is computed without the reference's features.
        needs_features: Whether it is computed from an extractor's features. One that does without, such as a metric of
            ``inputs.samples``, is requested by its name alone: ``test-error``.
        scale: How studies compare two of its values: by their ``ratio``; as a ``count``, by the ratio too, with
            rounding treated as noise; as a ``share`` from 0 to 1, by the ratio of odds, because near 1 plain ratios
            hardly differ.
        share_of: What it is a share of, if its ``scale`` is ``share``. The odds of 0 and 1 being infinite, studies take
            0 as one of these, and 1 as all but one of them.
    """

    better: Better
    range: str
    least: int = 2
    needs_logits: bool = False
    needs_labels: bool = False
    held_out: bool = False
    sees_training: bool = False
    rejecting: Literal["refuses", "takes", "needs"] = "refuses"
    alone: bool = False
    needs_features: bool = True
    scale: Scale = "ratio"
    share_of: ShareOf = "samples"

    @abstractmethod
    def compute(self, inputs: MetricInputs) -> float:
        """The score: finite, and the same for the same inputs."""

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """What the score depends on, other than images and extractor, as JSON: part of its protocol.

        Called before samples exist, so it may use only ``n``, ``real`` and ``training_set`` of ``inputs``.
        """
        return {}

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        """A 95% confidence interval for the mean score of other sets of as many samples; None if unknown.

        It is computed for every final score, so it should cost little more than the score itself.

        Args:
            inputs: As for ``compute``.
            value: What ``compute`` returned.
        """
        return None

    def obstacle(self, extractor: Extractor | None, dataset: Dataset) -> str | None:
        """Why it cannot be computed with this extractor on this dataset, as a phrase; None if it can.

        ``extractor`` is None if it needs no features.
        """
        if extractor is None:
            return f"'{dataset.name}' has no labels" if self.needs_labels and dataset.labels is None else None
        if self.needs_logits and not extractor.classes:
            return "its extractor is not a classifier"
        if self.needs_logits and extractor.rejects and self.rejecting == "refuses":
            return "its extractor assigns some images to no class"
        if not extractor.rejects and self.rejecting == "needs":
            return "its extractor assigns every image to a class"
        if self.needs_labels and (dataset.labels is None or extractor.classes != len(dataset.classes)):
            return f"its extractor's classes are not those of '{dataset.name}'"
        return None


class ModelMetric(Metric):
    """A number that tells how well a trained model performs a task on real images, such as classifying them.

    It calls a method of the objective, ``method(networks, images, label)``, on the reference images, and needs no
    samples. ``compute`` uses ``outputs`` and ``inputs.real.dataset``. Real images have no such score, so there is no
    real vs real. If the metric needs features, it gets them from ``inputs.see``.

    Attributes:
        calls: The objective's method.
        does: What an objective with this method does, as the end of a sentence: ``classifies images``.
        needs_classes: Whether the reference must have labels.
        needs_unconditional: Whether the recipe must be unconditional. In a conditional recipe, the networks receive
            each image's label, so a score of how well they predict it would only measure their input.
    """

    calls: str
    does: str
    alone = True
    needs_features = False
    share_of = "real images"
    needs_classes: bool = False
    needs_unconditional: bool = False

    def outputs(self, inputs: MetricInputs) -> Tensor:
        """The results of ``calls`` for the reference images, in order, on the CPU.

        Computed once for all metrics that share these ``inputs``: those with the same extractor, or with none.
        """
        model = inputs.model
        assert model is not None, "a ModelMetric always receives a model"
        return inputs.shared(f"outputs of {self.calls}", lambda: model.apply(self.calls, inputs.real.dataset))

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Why it cannot be computed for this objective's networks on this dataset, as a phrase; None if it can.

        The objective has its ``spec`` at this point, but no networks yet.
        """
        if objective is None:
            return "it measures a trained model, not images"
        if not callable(getattr(objective, self.calls, None)):
            return f"it needs a loss that {self.does}"
        if self.needs_unconditional and objective.spec.classes:
            return "its encoder receives the labels"
        if self.needs_classes and dataset.labels is None:
            return f"'{dataset.name}' has no labels"
        return None
