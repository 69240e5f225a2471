"""From images to features: computed once, shared by every metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ganzoo.api.metric import Features
from ganzoo.errors import GanzooError, foreign_code
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.reproducibility import full_precision

HELD = 64
"""Batches whose features may stay on the device, so that it need not be waited for after each."""

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganzoo.api.metric import Extractor


class Processes(Protocol):
    """The processes that run one evaluation together, each with the same images."""

    @property
    def rank(self) -> int:
        """This one's number, from 0."""

    @property
    def size(self) -> int:
        """How many there are."""

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace a tensor on the CPU by its sum over all processes."""


def extract(
    name: str,
    extractor: Extractor,
    images: Tensor,
    device: torch.device,
    batch_size: int | None = None,
    part: tuple[int, int] = WHOLE,
) -> Features:
    """Run an extractor over images, in float32 whatever the training around it uses.

    Args:
        name: The extractor's registered name, for errors.
        extractor: On ``device``, in evaluation mode.
        images: In their modality's stored form (n, *shape): uint8 (n, c, h, w), say.
        device: Where the extractor is.
        batch_size: Images at a time, the extractor's own number where None; features do not depend on it beyond
            rounding.
        part: (k, m) takes every m-th batch, from the k-th on, and leaves the other rows zero: m processes compute parts
            that add up to the whole.

    Raises:
        GanzooError: The extractor fails, changes its input, or does not return what it declares.
    """
    first, every = part
    size = batch_size or extractor.batch_size
    batches = [slice(start, start + size) for start in range(first * size, len(images), every * size)]
    with torch.no_grad(), full_precision(device):
        seen = []
        for number, rows in enumerate(batches):
            found, classes = _seen(name, extractor, images[rows].to(device, copy=True))
            seen.append((found, classes))  # still on the device, which need not be waited for
            if number % HELD == HELD - 1:
                held = slice(-HELD, None)
                seen[held] = [(values.cpu(), None if logits is None else logits.cpu()) for values, logits in seen[held]]
    values = torch.zeros(len(images), extractor.width)
    logits = torch.zeros(len(images), extractor.classes) if extractor.classes else None
    for rows, (found, classes) in zip(batches, seen, strict=True):
        if found.shape != values[rows].shape:
            raise GanzooError(
                f"The extractor '{name}' returned features of shape {tuple(found.shape)}.",
                f"Its plugin promises {extractor.width} features for each image.",
            )
        values[rows] = found.cpu().float()
        if not values[rows].isfinite().all():
            raise GanzooError(
                f"The extractor '{name}' returned features that are NaN or infinite.",
                "Its plugin promises finite ones for every image.",
            )
        if logits is None:
            continue
        if classes is None or classes.shape != logits[rows].shape:
            given = "no logits" if classes is None else f"logits of shape {tuple(classes.shape)}"
            raise GanzooError(
                f"The extractor '{name}' returned {given}.",
                f"Its plugin promises {extractor.classes} logits for each image.",
            )
        logits[rows] = classes.cpu().float()
        if logits[rows].isnan().any() or logits[rows].isposinf().any():
            raise GanzooError(
                f"The extractor '{name}' returned logits that are NaN or infinite.",
                "Its plugin promises finite ones, or -inf for a class that an image does not belong to.",
            )
    return Features(values, logits, None if extractor.projection is None else extractor.projection.cpu())


def _seen(name: str, extractor: Extractor, batch: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features and logits of a batch, tensors at least."""
    version, remedy = batch._version, "Its plugin returns float features (n, width), and logits (n, classes) or None."
    with foreign_code(f"The extractor '{name}' failed", remedy):
        returned = extractor(batch)
    if batch._version != version:
        raise GanzooError(f"The extractor '{name}' changes the images it is given.", "Work on a copy: images.clone().")
    if not (
        isinstance(returned, tuple)
        and len(returned) == 2
        and isinstance(returned[0], Tensor)
        and isinstance(returned[1], Tensor | None)
    ):
        kinds = ", ".join(type(part).__name__ for part in returned) if isinstance(returned, tuple) else ""
        raise GanzooError(f"The extractor '{name}' returned {type(returned).__name__}({kinds}).", remedy)
    for tensor in returned:
        if tensor is not None and not (
            tensor.is_floating_point() and tensor.layout == torch.strided and tensor.device == batch.device
        ):
            raise GanzooError(
                f"The extractor '{name}' returned a tensor of type {tensor.dtype} on {tensor.device}.",
                f"Its plugin returns dense floating-point tensors on the images' device, {batch.device}.",
            )
    features, logits = returned
    return features.detach(), None if logits is None else logits.detach()


def extract_together(
    extractors: Mapping[str, Extractor], images: Tensor, device: torch.device, processes: Processes | None
) -> dict[str, Features]:
    """Features of the same images by every extractor, each process taking its share of the batches.

    All processes call it at the same point. Batches are those of a single process, so features are equal.

    Args:
        extractors: By name, on ``device``, in evaluation mode; the same ones in the same order in every process.
        images: In their modality's stored form (n, *shape), the same ones in every process.
        device: Where the extractors are.
        processes: Who takes part; this process alone where None.

    Returns:
        By the extractors' names, in every process.
    """
    found = {}
    for name, extractor in extractors.items():
        part = WHOLE if processes is None else (processes.rank, processes.size)
        features = found[name] = extract(name, extractor, images, device, part=part)
        for tensor in (features.values, features.logits):
            if tensor is not None and processes is not None:
                processes.all_reduce_sum(tensor)
    return found
