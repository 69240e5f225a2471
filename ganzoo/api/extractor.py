"""Feature extractors: networks that turn images into the features that metrics compare."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from torch import Tensor, nn

if TYPE_CHECKING:
    import numpy as np

    Statistics = Mapping[str, np.ndarray[Any, np.dtype[np.float64]]]


class Extractor(nn.Module):
    """A fixed feature extractor that scores are computed in.

    Attributes:
        shape: The images it takes, (channels, height, width); anything else is refused, never resampled.
        width: Number of features.
        classes: Number of classes it tells apart, 0 where it is no classifier.
        rejects: Whether it may put an image into no class at all.
        resizing: How it resizes images, as a score's protocol says it; ``none`` where it takes them as they are.
        worlds: The datasets that it was fitted to, such as ``("mnist",)``: others are scored only where somebody
            insists. Empty for an extractor of any images.
    """

    shape: ClassVar[tuple[int, ...]]
    width: ClassVar[int]
    classes: ClassVar[int] = 0
    rejects: ClassVar[bool] = False
    resizing: str = "none"
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
        import torch
        from torch_fidelity.metric_fid import fid_features_to_statistics

        # torch-fidelity averages in the type it is given, and a float32 sum of many rows depends on their order.
        found = fid_features_to_statistics(self.projected)
        return {"mu": self.projected.mean(0, dtype=torch.float64).numpy(), "sigma": found["sigma"]}

    @property
    def class_logits(self) -> Tensor:
        """The logits of an extractor that is a classifier.

        Raises:
            ValueError: It is none; a metric with ``needs_logits`` is never given one.
        """
        if self.logits is None:
            raise ValueError("The extractor is no classifier, so it gives no logits.")
        return self.logits
