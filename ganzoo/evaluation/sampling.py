"""Drawing samples from a generator without disturbing its training."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from ganzoo.errors import GanzooError, RunError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ganzoo.api.objective import Networks, Objective

BATCH = 500
"""Images that are drawn, or looked at, at a time."""
WHOLE = (0, 1)
"""Every batch, from the first on."""


def to_uint8(images: Tensor) -> Tensor:
    """Quantise images as a picture file would: round((x + 1) * 127.5), clamped.

    Args:
        images: (n, c, h, w), nominally in [-1, 1].

    Returns:
        uint8, same shape: -1 gives 0, 0 gives 128, 1 gives 255.

    Raises:
        RunError: Some values are not numbers.
    """
    _refuse_nan(images)
    return ((images.float() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def _refuse_nan(images: Tensor) -> None:
    if images.isnan().any():
        raise RunError(
            "The generator draws NaN instead of pixels.",
            "Its training has diverged; lower the learning rate.",
        )


def _as_drawn(images: Tensor, quantised: bool) -> Tensor:
    """Pictures as uint8, points as float32, on the CPU."""
    if quantised:
        return to_uint8(images).cpu()
    _refuse_nan(images)
    return images.float().cpu()


def draw(
    objective: Objective,
    networks: Networks,
    n: int,
    *,
    seed: int,
    device: torch.device,
    labels: Tensor | None = None,
    classes: int = 0,
    codes: Tensor | None = None,
    batch_size: int = BATCH,
    part: tuple[int, int] = WHOLE,
) -> tuple[Tensor, Tensor | None]:
    """Draw images in evaluation mode; the same arguments give the same images.

    Neither the global random state nor any module's train mode is touched. Latent codes are drawn on the
    CPU, so that every device is fed the same ones.

    Args:
        objective: Knows how to generate from the networks.
        networks: At least ``objective.samples_with``, on ``device``.
        n: Number of images.
        seed: Of the latent codes and of any randomness inside the networks.
        device: Where the networks are.
        labels: int64 (n,), the class of each image; evenly cycled where None and ``classes`` is set.
        classes: Number of classes of a conditional objective, 0 otherwise.
        codes: Latent codes (n, latent) in place of drawn ones.
        batch_size: Images at a time.
        part: (k, m) draws every m-th batch, from the k-th on, and leaves the other images zero: m processes draw parts
            that add up to the whole.

    Returns:
        uint8 (n, c, h, w) on the CPU, or float32 where the spec says that they are points; and their labels (n,),
        or None where the objective is unconditional.

    Raises:
        GanzooError: ``n`` is less than one.
        RunError: The generator gives NaN.
    """
    if n < 1:
        raise GanzooError(f"{n} images cannot be drawn.", "Ask for at least one.")
    if labels is None and classes:
        labels = torch.arange(n) % classes
    if codes is None:
        codes = objective.spec.prior.sample(n, torch.Generator().manual_seed(seed), torch.device("cpu"))
    asked = torch.zeros(n, dtype=torch.int64) if labels is None else labels.cpu()
    spec = objective.spec
    images = torch.zeros(n, *spec.image_shape, dtype=torch.uint8 if spec.quantised else torch.float32)
    first, every = part
    with torch.no_grad(), torch.autocast(device.type, enabled=False), _evaluating(networks):
        for start in range(first * batch_size, n, every * batch_size):
            rows = slice(start, start + batch_size)
            # Each batch for itself, so that a batch does not depend on who draws the ones before it.
            with _seeded(seed + start, device):
                drawn = objective.generate(networks, codes[rows].to(device), asked[rows].to(device))
            images[rows] = _as_drawn(drawn, spec.quantised)
    return images, None if labels is None else asked


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """A seeded global random state on the CPU and on ``device``, the old one afterwards."""
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        # torch.manual_seed would reseed every GPU, also those that are not restored.
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


@contextmanager
def _evaluating(networks: Networks) -> Iterator[None]:
    """Evaluation mode, and each module's own mode afterwards."""
    modes: list[tuple[nn.Module, bool]] = [(m, m.training) for net in networks.values() for m in net.modules()]
    try:
        for network in networks.values():
            network.eval()
        yield
    finally:
        for module, mode in modes:
            module.training = mode
