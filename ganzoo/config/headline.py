"""The headline: the few metrics that a dataset's samples are judged by, side by side. The first one ranks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Final

from ganzoo.config.schema import FOREIGN_EXTRACTORS

if TYPE_CHECKING:
    from ganzoo.registry.loading import Zoo

HEADLINES: Final[Mapping[str, tuple[str, ...]]] = {
    "mnist": ("fid@mnist-ae", "fid@mnist-cnn", "coverage@mnist-cnn", "recall@mnist-cnn"),
    "fashion-mnist": (
        "fid@fashion-mnist-ae",
        "fid@fashion-mnist-cnn",
        "coverage@fashion-mnist-cnn",
        "recall@fashion-mnist-cnn",
    ),
    "stacked-mnist": ("modes@stacked-mnist-cnn", "kl@stacked-mnist-cnn"),
    "ring": ("modes@ring", "kl@ring", "quality@ring"),
    "grid": ("modes@grid", "kl@grid", "quality@grid"),
}
"""By dataset. What names an extractor that is not installed is left out."""
OF_OTHERS: Final = ("fid", "coverage", "recall")
"""For a dataset that is not listed: these, in the first extractor that was fitted to it."""


def headline(dataset: str, zoo: Zoo) -> tuple[str, ...]:
    """The headline metrics of a dataset, in order.

    Args:
        dataset: Its name.
        zoo: Where metrics and extractors are looked up.

    Returns:
        Names such as ``fid@mnist-cnn``; empty where no installed extractor was fitted to the dataset.
    """
    listed = HEADLINES.get(dataset) or [
        f"{metric}@{extractor}" for extractor in list(extractors_of(dataset, zoo))[:1] for metric in OF_OTHERS
    ]
    return tuple(name for name in listed if _is_installed(name, zoo))


def extractors_of(dataset: str, zoo: Zoo) -> Iterator[str]:
    """The installed extractors that were fitted to a dataset, in the order in which they were registered."""
    for entry in zoo.extractors.in_order():
        if dataset in getattr(entry.factory, "worlds", ()):
            yield entry.name


def how_to_score(dataset: str, zoo: Zoo) -> str:
    """What to install or pass to score samples of a dataset, in a sentence."""
    fitting = list(extractors_of(dataset, zoo))
    if fitting:
        return f"Use an extractor that was fitted to it: {', '.join(fitting)}."
    return (
        f"Install a plugin whose extractor was fitted to it, or name an extractor of any images, such as "
        f"fid@{FOREIGN_EXTRACTORS[0]}."
    )


def _is_installed(name: str, zoo: Zoo) -> bool:
    metric, _, extractor = name.partition("@")
    return metric in zoo.metrics and extractor in zoo.extractors
