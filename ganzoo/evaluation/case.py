"""What a metric may look at: generated images, the real ones, the training set; what metrics share is computed once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from ganzoo.evaluation import fidelity
from ganzoo.evaluation.neighbours import density_and_coverage

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from ganzoo.evaluation.features import Features
    from ganzoo.evaluation.references import RealImages

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
        """See ``fidelity.precision_and_recall``."""
        return fidelity.precision_and_recall(self.fake.values, self.real.features.values)

    @cached_property
    def density_and_coverage(self) -> tuple[float, float]:
        """See ``neighbours.density_and_coverage``."""
        real = self.real
        return density_and_coverage(self.fake.values, real.features.values, real.radii(NEIGHBOURS), NEIGHBOURS)
