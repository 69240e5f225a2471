"""From images to features: computed once, shared by every metric."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation.fidelity import Statistics, statistics

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganzoo.extractor import Extractor


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


def extract(name: str, extractor: Extractor, images: Tensor, device: torch.device, batch_size: int = 500) -> Features:
    """Run an extractor over images, in float32 whatever the training around it uses.

    Args:
        name: The extractor's registered name, for errors.
        extractor: On ``device``, in evaluation mode.
        images: uint8 (n, c, h, w).
        device: Where the extractor is.
        batch_size: Images at a time; features do not depend on it beyond rounding.

    Raises:
        GanzooError: The extractor returns something else than it declares.
    """
    with torch.no_grad(), _full_precision(device):
        batches = [extractor(batch.to(device)) for batch in torch.split(images, batch_size)]
    values = torch.cat([features.cpu() for features, _ in batches]).float()
    logits = [some.cpu().float() for _, some in batches if some is not None]
    if values.shape != (len(images), extractor.width) or not values.isfinite().all():
        raise GanzooError(
            f"The extractor '{name}' gave features of shape {tuple(values.shape)}, or some not finite.",
            f"It declares {extractor.width} finite features an image; its plugin must be mended.",
        )
    return Features(values, torch.cat(logits) if logits else None)


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
