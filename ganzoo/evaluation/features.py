"""Features of images: computed once and shared by all metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.api.metric import Features
from ganzoo.errors import GanzooError, foreign_code
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.reproducibility import full_precision

if TYPE_CHECKING:
    from ganzoo.api.metric import Extractor

HELD = 64
"""Batches whose features may stay on the device, so that the CPU need not wait for it after each batch."""


def extract(
    name: str,
    extractor: Extractor,
    images: Tensor,
    device: torch.device,
    batch_size: int | None = None,
    part: tuple[int, int] = WHOLE,
) -> Features:
    """Run an extractor on images, in float32 even if the training run around it uses another precision.

    Args:
        name: The extractor's registered name, for errors.
        extractor: On ``device``, in evaluation mode.
        images: In their modality's stored form (n, *shape), for instance uint8 (n, c, h, w).
        device: The device of the extractor.
        batch_size: Images per batch; None means the extractor's own batch size. It affects features only by rounding.
        part: (k, m) computes every m-th batch, starting with the k-th, and leaves the other rows zero, so that the
            parts of m processes add up to the complete result.

    Raises:
        GanzooError: The extractor fails, changes its input, or does not return what it declares.
    """
    first, every = part
    size = batch_size or extractor.batch_size
    batches = [slice(start, start + size) for start in range(first * size, len(images), every * size)]
    with torch.no_grad(), full_precision(device):
        outputs = []
        for number, rows in enumerate(batches):
            # Still on the device: no need to wait for it.
            outputs.append(_extract_batch(name, extractor, images[rows].to(device, copy=True)))
            if number % HELD == HELD - 1:
                held = slice(-HELD, None)
                outputs[held] = [
                    (values.cpu(), None if logits is None else logits.cpu()) for values, logits in outputs[held]
                ]
    values = torch.zeros(len(images), extractor.width)
    logits = torch.zeros(len(images), extractor.classes) if extractor.classes else None
    for rows, (batch_values, batch_logits) in zip(batches, outputs, strict=True):
        if batch_values.shape != values[rows].shape:
            raise GanzooError(
                f"The extractor '{name}' returned features of shape {tuple(batch_values.shape)}.",
                f"Its plugin declares {extractor.width} features for each image.",
            )
        values[rows] = batch_values.cpu().float()
        if not values[rows].isfinite().all():
            raise GanzooError(
                f"The extractor '{name}' returned features that are NaN or infinite.",
                "Its plugin must return finite features for every image.",
            )
        if logits is None:
            continue
        if batch_logits is None or batch_logits.shape != logits[rows].shape:
            returned = "no logits" if batch_logits is None else f"logits of shape {tuple(batch_logits.shape)}"
            raise GanzooError(
                f"The extractor '{name}' returned {returned}.",
                f"Its plugin declares {extractor.classes} logits for each image.",
            )
        logits[rows] = batch_logits.cpu().float()
        if logits[rows].isnan().any() or logits[rows].isposinf().any():
            raise GanzooError(
                f"The extractor '{name}' returned logits that are NaN or infinite.",
                "Its plugin must return finite logits, or -inf for a class that an image does not belong to.",
            )
    return Features(values, logits, None if extractor.projection is None else extractor.projection.cpu())


def _extract_batch(name: str, extractor: Extractor, batch: Tensor) -> tuple[Tensor, Tensor | None]:
    """Features and logits of a batch; their shapes and values are not checked yet."""
    version = batch._version
    remedy = "Its plugin must return float features (n, width), and logits (n, classes) or None."
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
                f"Its plugin must return dense floating-point tensors on {batch.device}, like the images.",
            )
    features, logits = returned
    return features.detach(), None if logits is None else logits.detach()
