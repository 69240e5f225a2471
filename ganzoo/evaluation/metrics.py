"""The metrics, one row each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ganzoo.errors import GanzooError, nearest
from ganzoo.evaluation.fidelity import frechet_distance

if TYPE_CHECKING:
    from collections.abc import Callable

    from ganzoo.evaluation.features import Features


@dataclass(frozen=True)
class Metric:
    """A number that says how far generated images are from real ones.

    Attributes:
        name: What stands before the ``@``.
        summary: One line.
        compute: From the features of generated and of real images to the value.
    """

    name: str
    summary: str
    compute: Callable[[Features, Features], float]


def _fid(fake: Features, real: Features) -> float:
    return frechet_distance(fake.statistics, real.statistics)


METRICS = {
    metric.name: metric
    for metric in [
        Metric("fid", "Fréchet distance between Gaussians fitted to the features; lower is better", _fid),
    ]
}


@dataclass(frozen=True)
class Wanted:
    """A metric in an extractor's features.

    Attributes:
        metric: What is computed.
        extractor: The name of the extractor it is computed in.
    """

    metric: Metric
    extractor: str

    @property
    def name(self) -> str:
        """As people write it: ``fid@mnist-cnn``."""
        return f"{self.metric.name}@{self.extractor}"


def parse(name: str) -> Wanted:
    """Read ``<metric>@<extractor>``.

    Raises:
        GanzooError: It is not of that form, or there is no such metric.
    """
    metric, at, extractor = name.partition("@")
    if not (at and extractor):
        raise GanzooError(
            f"The metric '{name}' names no extractor.", "Write <metric>@<extractor>, such as fid@mnist-cnn."
        )
    if metric not in METRICS:
        raise GanzooError(f"There is no metric called '{metric}' (in '{name}').", nearest(metric, METRICS))
    return Wanted(METRICS[metric], extractor)
