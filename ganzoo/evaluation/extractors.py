"""Finding an extractor by name: among the plugins first, then among those that torch-fidelity brings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ganzoo.errors import GanzooError, unknown
from ganzoo.evaluation import pretrained
from ganzoo.sections import FOREIGN_EXTRACTORS

if TYPE_CHECKING:
    from pathlib import Path

    from ganzoo.extractor import Extractor
    from ganzoo.plugins import Zoo

Shape = tuple[int, int, int]


def find(name: str, zoo: Zoo, shape: Shape, weights: Path | None = None) -> Extractor:
    """The extractor of that name, on the CPU, in evaluation mode.

    Args:
        name: A registered name, or one of torch-fidelity's.
        zoo: Where plugins registered theirs.
        shape: (channels, height, width) of the images to judge.
        weights: The file of one of torch-fidelity's; None is where that keeps it.

    Raises:
        GanzooError: There is none, it takes other images, or its weights cannot be had.
    """
    if name in zoo.extractors:
        _refuse_weights(name, weights)
        extractor = zoo.extractors.get(name).create()
    elif name in FOREIGN_EXTRACTORS:
        extractor = pretrained.build(name, shape, weights)
    else:
        known = [*(entry.name for entry in zoo.extractors), *FOREIGN_EXTRACTORS]
        raise unknown("extractor", name, known, zoo.extractors.hint)
    refuse_other_shape(name, extractor, shape)
    return extractor.eval().requires_grad_(False)


def _refuse_weights(name: str, weights: Path | None) -> None:
    if weights is not None:
        raise GanzooError(
            f"The extractor '{name}' brings its own weights, so it does not take {weights}.",
            f"These take a file: {', '.join(FOREIGN_EXTRACTORS)}.",
        )


def refuse_other_shape(name: str, extractor: Extractor, shape: Shape) -> None:
    """Raise unless the extractor takes images of that shape: they are never resampled to fit."""
    if tuple(extractor.shape) != shape:
        takes = written(extractor.shape)
        raise GanzooError(
            f"The extractor '{name}' judges images of {takes}, and these are of {written(shape)}.",
            "Nothing is resampled, because that alone changes a score; use another extractor or dataset.",
        )


def written(shape: Shape) -> str:
    """A shape as people write it: ``28x28 grey``."""
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
