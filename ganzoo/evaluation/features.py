"""Features of images: computed once and shared by all metrics."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ganzoo.api.metric import Features
from ganzoo.errors import GanzooError, foreign_code
from ganzoo.evaluation.sampling import WHOLE
from ganzoo.reproducibility import full_precision

if TYPE_CHECKING:
    from ganzoo.api.metric import Extractor


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
        GanzooError: The extractor fails, or does not return what it declares.
    """
    first, every = part
    size = batch_size or extractor.batch_size
    values = torch.zeros(len(images), extractor.width)
    logits = torch.zeros(len(images), extractor.classes) if extractor.classes else None
    remedy = "Its plugin must return float features (n, width), and logits (n, classes) or None."
    with torch.no_grad(), full_precision(device), foreign_code(f"The extractor '{name}' failed", remedy):
        for start in range(first * size, len(images), every * size):
            rows = slice(start, start + size)
            returned = extractor(images[rows].to(device, copy=True))
            _keep(name, "features", returned[0], values[rows])
            if logits is not None:
                _keep(name, "logits", returned[1], logits[rows])
    return Features(values, logits, None if extractor.projection is None else extractor.projection.cpu())


def _keep(name: str, what: str, returned: Any, rows: Tensor) -> None:
    """Copy what an extractor returned for a batch into the batch's rows of the result."""
    who = f"The extractor '{name}' returned"
    if not isinstance(returned, Tensor) or not returned.is_floating_point() or returned.shape != rows.shape:
        is_tensor = isinstance(returned, Tensor)
        kind = f"{returned.dtype} of shape {tuple(returned.shape)}" if is_tensor else type(returned).__name__
        raise GanzooError(
            f"{who} {what} of type {kind}.", f"Its plugin declares {rows.shape[1]} floats for each image."
        )
    rows.copy_(returned)
    largest = rows.max() if what == "logits" else rows.abs().max()  # logits may be -inf
    if not largest < math.inf:
        raise GanzooError(
            f"{who} {what} that are NaN or infinite.",
            "Its plugin must return finite numbers; the logit of a class that an image does not belong to may be -inf.",
        )
