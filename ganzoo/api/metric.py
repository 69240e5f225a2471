"""Metrics: numbers that say how samples compare with real images, computed in an extractor's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ganzoo.api.dataset import Dataset
    from ganzoo.api.extractor import Extractor, Features

T = TypeVar("T")
Better = Literal["lower", "higher", "neither"]
"""Which way a score is better; ``neither`` where real images' own score is best."""


def _cpu() -> torch.device:
    import torch

    return torch.device("cpu")


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
    """

    n: int
    extract: Callable[[], Features]
    labels: Tensor | None
    real: Reference
    training_set: Callable[[], Reference]
    device: torch.device = field(default_factory=_cpu)
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
    """

    better: Better
    range: str
    least: int = 2
    needs_logits: bool = False
    needs_labels: bool = False
    held_out: bool = False
    rejecting: Literal["refuses", "takes", "needs"] = "refuses"
    alone: bool = False

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
