"""What measures samples: extractors turn images into features, and metrics compare those with real images'."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, TypeVar

import torch
from torch import Tensor, nn

from ganzoo.errors import Diverged
from ganzoo.reproducibility import canonical_order, full_precision, seeded

if TYPE_CHECKING:
    import numpy as np

    from ganzoo.api.dataset import Dataset
    from ganzoo.api.objective import Networks, Objective

    Statistics = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


class Extractor(nn.Module):
    """A fixed feature extractor that scores are computed in.

    Attributes:
        shape: The images it takes, (channels, height, width); anything else is refused, never resampled.
        width: Number of features.
        classes: Number of classes it tells apart, 0 where it is no classifier.
        rejects: Whether it may put an image into no class at all.
        resizing: How it resizes images, as a score's protocol says it; ``none`` where it takes them as they are.
        batch_size: Images at a time, as many as fit into a small GPU's memory.
        worlds: The datasets that it was fitted to, such as ``("mnist",)``: others are scored only where somebody
            insists. Empty for an extractor of any images.
    """

    shape: ClassVar[tuple[int, ...]]
    width: ClassVar[int]
    classes: ClassVar[int] = 0
    rejects: ClassVar[bool] = False
    resizing: str = "none"
    batch_size: ClassVar[int] = 500
    worlds: ClassVar[tuple[str, ...]] = ()

    @property
    @abstractmethod
    def digest(self) -> str:
        """Hexadecimal digest of the weights. Part of every score's protocol, and of the key of cached statistics."""

    @property
    def projection(self) -> Tensor | None:
        """What features are multiplied by before Gaussians are fitted to them, (width, k): whitened coordinates, say.

        Everything but Fréchet distances takes the features as they are. None where Fréchet distances do too.
        """
        return None

    @abstractmethod
    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Features and class logits of images.

        Args:
            images: uint8 (n, c, h, w); an extractor for points takes float32 in [-1, 1].

        Returns:
            Features (n, width) float32, and logits (n, classes) float32 or None. Logits are -inf throughout where an
            image belongs to no class.
        """


@dataclass(frozen=True)
class Features:
    """What an extractor sees in a set of images.

    Attributes:
        values: (n, width) float32, on the CPU.
        logits: (n, classes) float32, on the CPU; None where the extractor is no classifier.
        projection: The extractor's own, (width, k) on the CPU, or None.
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
        import numpy as np
        from torch_fidelity.metric_fid import fid_features_to_statistics

        # torch-fidelity averages in the type it is given, and a float32 sum of many rows depends on their order.
        found = fid_features_to_statistics(self.projected)
        sigma = np.atleast_2d(found["sigma"])  # numpy's covariance of a single feature is a number
        return {"mu": self.projected.mean(0, dtype=torch.float64).numpy(), "sigma": sigma}

    @property
    def class_logits(self) -> Tensor:
        """The logits of an extractor that is a classifier.

        Raises:
            ValueError: It is none; a metric with ``needs_logits`` is never given one.
        """
        if self.logits is None:
            raise ValueError("The extractor is no classifier, so it gives no logits.")
        return self.logits


CPU = torch.device("cpu")
SEED = 0
"""Of the batches that a trained model is given, and of what its networks draw."""
T = TypeVar("T")
Better = Literal["lower", "higher", "neither"]
"""Which way a score is better; ``neither`` where real images' own score is best."""
Scale = Literal["ratio", "count", "share"]
"""How two scores compare: by their ratio, or, of shares from 0 to 1, by the ratio of their odds."""


class Reference(Protocol):
    """Real images as one extractor sees them; what is expensive comes from a cache."""

    @property
    def dataset(self) -> Dataset:
        """The images, with labels where there are any."""

    @property
    def key(self) -> Mapping[str, Any]:
        """What their features depend on, as JSON: ``count``, ``content`` (a digest), ``extractor_digest``, ..."""

    @property
    def features(self) -> Features:
        """Their features."""

    def radii(self, k: int) -> Tensor:
        """The distance of each to the k-th nearest of the others, (n,) float64."""


@dataclass(frozen=True)
class TrainedModel:
    """What was trained.

    Attributes:
        objective: What was optimised.
        networks: By role, at least ``objective.samples_with``, on ``device``.
        device: Where they are.
        batch_size: Images at a time.
    """

    objective: Objective
    networks: Networks
    device: torch.device
    batch_size: int = 500

    def apply(self, name: str, dataset: Dataset) -> Tensor:
        """What a method of the objective's makes of a whole dataset, the networks being in evaluation mode.

        Batches are drawn at random with a fixed seed, and are of one size up to one image: a layer that looks at its
        whole batch would otherwise see one class alone where a file is sorted by class. The order of the images changes
        nothing.

        Args:
            name: Of ``method(networks, images, label)``, from images (n, *shape) as networks see them and labels (n,),
                zeros where there are none.
            dataset: The images.

        Returns:
            Its results in the order of the images, on the CPU.

        Raises:
            Diverged: Some of them are NaN or infinite.
        """
        method, modality = getattr(self.objective, name), dataset.modality
        labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
        order = canonical_order(dataset.images)
        order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(SEED))]
        found = []
        with torch.no_grad(), evaluating(self.networks), full_precision(self.device), seeded(SEED, self.device):
            for rows in order.tensor_split(-(-len(order) // self.batch_size)):
                images = modality.to_network(dataset.images[rows].to(self.device))
                outputs = method(self.networks, images, labels[rows].to(self.device))
                if outputs.is_floating_point() and not outputs.isfinite().all():
                    raise Diverged(
                        f"'{name}' of the model gives NaN or infinite values.",
                        "Its training has diverged; lower the learning rate.",
                    )
                found.append(outputs.cpu())
        return torch.cat(found)[order.argsort()]


@contextmanager
def evaluating(networks: Networks) -> Iterator[None]:
    """Evaluation mode, and each module's own mode afterwards."""
    modes = [(module, module.training) for network in networks.values() for module in network.modules()]
    try:
        for network in networks.values():
            network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@dataclass(frozen=True)
class MetricInputs:
    """What a metric is computed from: samples and real images, as one extractor sees them.

    Attributes:
        n: Number of samples, at least 2.
        extract: Gives the samples' features; called at most once.
        labels: int64 (n,), the classes that were asked for, or None.
        real: The reference: real images that the samples are compared with.
        training_set: Gives the images the generator was trained on. They are many: ask only where you need them.
        device: Where large computations, such as distances between all images, are best done. What is handed over and
            what is handed back is on the CPU.
        model: What was trained, for a ``ModelMetric``; None where only its samples are known.
        see: Gives the features of any images, in their modality's stored form.
    """

    n: int
    extract: Callable[[], Features]
    labels: Tensor | None
    real: Reference
    training_set: Callable[[], Reference]
    device: torch.device = CPU
    model: TrainedModel | None = None
    see: Callable[[Tensor], Features] | None = None
    _shared: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @cached_property
    def fake(self) -> Features:
        """The samples' features."""
        return self.extract()

    def shared(self, name: str, compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed once for all metrics that ask under this name."""
        if name not in self._shared:
            self._shared[name] = compute()
        found: T = self._shared[name]
        return found


class Metric(ABC):
    """A number that says how samples compare with real images.

    Attributes:
        better: Which way is better.
        range: Its values in words: ``0 to 1``.
        least: The fewest images it takes, of samples and of real ones.
        needs_logits: Whether the extractor must be a classifier.
        needs_labels: Whether samples must come with the classes that were asked for.
        held_out: Whether its floor must be of real images that nothing was trained on.
        rejecting: What it makes of an extractor that may put an image into no class: such a metric ``refuses`` it,
            ``takes`` it as well, or ``needs`` one.
        alone: Whether it uses the samples alone, never the reference.
        needs_features: Whether it is computed in an extractor's features. One that needs none, which only a
            ``ModelMetric`` may be, is asked for by its name alone: ``test-error``.
        scale: How studies compare two of its values: by their ``ratio``; a ``count`` too, whose rounding they take for
            noise; a ``share``, from 0 to 1, by its odds, since near 1 there is no room for a ratio.
    """

    better: Better
    range: str
    least: int = 2
    needs_logits: bool = False
    needs_labels: bool = False
    held_out: bool = False
    rejecting: Literal["refuses", "takes", "needs"] = "refuses"
    alone: bool = False
    needs_features: bool = True
    scale: Scale = "ratio"

    @abstractmethod
    def compute(self, inputs: MetricInputs) -> float:
        """The score: finite, and the same for the same inputs."""

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """What the score depends on besides images and extractor, as JSON: part of its protocol.

        It is asked for before there are samples: of ``inputs`` it may use ``n``, ``real`` and ``training_set``.
        """
        return {}

    def interval(self, inputs: MetricInputs, value: float) -> tuple[float, float] | None:
        """Where the score would be with other samples of the same generator, 95%; None where that is unknown.

        It stands beside every final score, so it should cost little more than the score itself.

        Args:
            inputs: As for ``compute``.
            value: What ``compute`` gave.
        """
        return None

    def obstacle(self, extractor: Extractor, dataset: Dataset) -> str | None:
        """Why it cannot be computed with this extractor on this dataset, as a phrase; None where it can."""
        if self.needs_logits and not extractor.classes:
            return "its extractor is no classifier"
        if self.needs_logits and extractor.rejects and self.rejecting == "refuses":
            return "its extractor puts some images into no class"
        if not extractor.rejects and self.rejecting == "needs":
            return "its extractor puts every image into a class"
        if self.needs_labels and (dataset.labels is None or extractor.classes != len(dataset.classes)):
            return f"its extractor knows other classes than those of '{dataset.name}'"
        return None


class ModelMetric(Metric):
    """A number that says how well a trained model does what it is for on real images, beside drawing samples.

    It calls a method of the objective's, ``method(networks, images, label)``, on the reference images, and needs no
    samples. ``compute`` uses ``outputs`` and ``inputs.real.dataset``. Real images have no such score, so there is
    no real vs real beside it. Where it needs features, they come from ``inputs.see``.

    Attributes:
        calls: The objective's method.
        does: What an objective with this method does, as the end of a sentence: ``classifies images``.
        needs_classes: Whether the reference must have labels.
        needs_unconditional: Whether the recipe must not be conditional. The networks of one that is are given each
            image's own label, and a score of how well they find it would read it from their input.
    """

    calls: str
    does: str
    alone = True
    needs_features = False
    needs_classes: bool = False
    needs_unconditional: bool = False

    def outputs(self, inputs: MetricInputs) -> Tensor:
        """What ``calls`` gives for the reference images, in their order, on the CPU.

        Computed once for all metrics that are given these ``inputs``: those of one extractor, or those of none.
        """
        model = inputs.model
        assert model is not None, "a metric of a model is given one"
        return inputs.shared(f"outputs of {self.calls}", lambda: model.apply(self.calls, inputs.real.dataset))

    def obstacle_in_model(self, objective: Objective | None, dataset: Dataset) -> str | None:
        """Why it cannot be computed of this objective's networks on this dataset, as a phrase; None where it can.

        Of the objective, ``spec`` is known, but not yet its networks.
        """
        if objective is None:
            return "it measures a trained model, not images"
        if not hasattr(objective, self.calls):
            return f"it needs a loss that {self.does}"
        if self.needs_unconditional and objective.spec.classes:
            return "its encoder is told the classes"
        if self.needs_classes and dataset.labels is None:
            return f"'{dataset.name}' has no labels"
        return None
