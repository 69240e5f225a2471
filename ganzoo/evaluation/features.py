"""From images to features: computed once, shared by every metric."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ganzoo.errors import GanzooError, unknown
from ganzoo.evaluation import pretrained
from ganzoo.evaluation.sampling import BATCH, WHOLE
from ganzoo.evaluation.torch_fidelity import Statistics, statistics
from ganzoo.recipes.schema import FOREIGN_EXTRACTORS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ganzoo.api.extractor import Extractor
    from ganzoo.registry.loading import Zoo


class Look(Protocol):
    """From images to features, as ``extract`` does it."""

    def __call__(self, name: str, extractor: Extractor, images: Tensor, device: torch.device) -> Features:
        """See ``extract``."""
        ...


@dataclass(frozen=True)
class Features:
    """What an extractor sees in a set of images.

    Attributes:
        values: (n, width) float32, on the CPU.
        logits: (n, classes) float32, on the CPU; None where the extractor is no classifier.
    """

    values: Tensor
    logits: Tensor | None = None

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and covariance, computed on first use."""
        return statistics(self.values)


def extract(
    name: str,
    extractor: Extractor,
    images: Tensor,
    device: torch.device,
    batch_size: int = BATCH,
    part: tuple[int, int] = WHOLE,
) -> Features:
    """Run an extractor over images, in float32 whatever the training around it uses.

    Args:
        name: The extractor's registered name, for errors.
        extractor: On ``device``, in evaluation mode.
        images: uint8 (n, c, h, w).
        device: Where the extractor is.
        batch_size: Images at a time; features do not depend on it beyond rounding.
        part: (k, m) looks at every m-th batch, from the k-th on, and leaves what others look at zero.

    Raises:
        GanzooError: The extractor returns something else than it declares.
    """
    first, every = part
    chosen = list(range(first * batch_size, len(images), every * batch_size))
    with torch.no_grad(), _full_precision(device):
        seen = [extractor(images[start : start + batch_size].to(device)) for start in chosen]
    shown = len(images) if part == WHOLE else sum(len(images[start : start + batch_size]) for start in chosen)
    values = torch.cat([features.cpu() for features, _ in seen]).float()
    logits = [some.cpu().float() for _, some in seen if some is not None]
    if values.shape != (shown, extractor.width) or not values.isfinite().all():
        raise GanzooError(
            f"The extractor '{name}' gave features of shape {tuple(values.shape)}, or some not finite.",
            f"It declares {extractor.width} finite features an image; its plugin must be mended.",
        )
    found = Features(values, torch.cat(logits) if logits else None)
    return found if part == WHOLE else _spread(found, len(images), chosen, batch_size)


def _spread(found: Features, n: int, chosen: list[int], batch_size: int) -> Features:
    """Put the rows of the batches that begin at ``chosen`` where they belong among n."""
    rows = torch.cat([torch.arange(start, min(start + batch_size, n)) for start in chosen])

    def among_all(values: Tensor) -> Tensor:
        return values.new_zeros(n, *values.shape[1:]).index_copy_(0, rows, values)

    return Features(among_all(found.values), None if found.logits is None else among_all(found.logits))


@contextmanager
def _full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: a score must not depend on how its run was trained."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


Shape = tuple[int, ...]


def find_extractor(name: str, zoo: Zoo, shape: Shape, weights: Path | None = None) -> Extractor:
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
    if len(shape) != 3:
        return "x".join(map(str, shape))
    channels, height, width = shape
    return f"{height}x{width} {'grey' if channels == 1 else 'RGB'}"
