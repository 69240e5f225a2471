"""Drawing samples from a generator without disturbing its training."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.api.bounds import INT64
from ganzoo.api.metric import evaluating
from ganzoo.errors import Diverged, GanzooError
from ganzoo.reproducibility import derive_seed, full_precision, seeded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganzoo.api.objective import Networks, Objective

BATCH = 500
"""Images that are drawn at a time."""
WHOLE = (0, 1)
"""Every batch, from the first on."""


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
    sources: Mapping[str, Tensor] | None = None,
    batch_size: int = BATCH,
    part: tuple[int, int] = WHOLE,
    overview: bool = False,
) -> tuple[Tensor, Tensor | None]:
    """Draw images in evaluation mode and full precision; the same arguments give the same images.

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
        sources: What the objective generates from besides codes (its ``generates_from``), m rows each, cycled.
        batch_size: Images at a time.
        part: (k, m) draws every m-th batch, from the k-th on, and leaves the other images zero: m processes draw parts
            that add up to the whole.
        overview: Draw what the objective shows of each code: n times ``objective.views`` images, those of one code
            together.

    Returns:
        Samples (n, *shape) in their modality's stored form (uint8 images), on the CPU; and their labels (n,), or None
        where the objective is unconditional.

    Raises:
        GanzooError: ``n`` is less than one, the seed is negative or has more than 63 bits, or a column that the
            objective generates from is missing.
        Diverged: The generator gives NaN or infinite values.
    """
    if n < 1:
        raise GanzooError(f"Cannot draw {n} images.", "Ask for at least one.")
    if not 0 <= seed <= INT64[1]:
        raise GanzooError(f"The seed {seed} is out of range.", f"Give one from 0 to {INT64[1]}.")
    if labels is None and classes:
        labels = torch.arange(n) % classes
    if codes is None:
        codes = objective.spec.prior.sample(n, torch.Generator().manual_seed(seed), torch.device("cpu"))
    asked = torch.zeros(n, dtype=torch.int64) if labels is None else labels.cpu()
    modality = objective.spec.modality
    views, generate = (objective.views, objective.overview) if overview else (1, objective.generate_from)
    images = torch.zeros(n, views, *modality.shape, dtype=modality.stored)
    given = _cycled(objective, sources or {}, n)
    first, every = part
    with torch.no_grad(), full_precision(device), evaluating(networks):
        for start in range(first * batch_size, n, every * batch_size):
            rows = slice(start, start + batch_size)
            # Each batch for itself, so that a batch does not depend on who draws the ones before it; and apart from the
            # codes, which are drawn from the seed itself.
            with seeded(derive_seed(seed + start, "noise"), device):
                starts = {name: column[rows].to(device) for name, column in given.items()}
                outputs = generate(networks, codes[rows].to(device), asked[rows].to(device), starts)
            if not outputs.isfinite().all():
                raise Diverged(
                    "The generator draws NaN or infinite values.", "Its training has diverged; lower the learning rate."
                )
            samples = outputs.flatten(0, 1) if overview else outputs
            images[rows] = modality.from_network(samples).cpu().view(-1, *images.shape[1:])
    return images.flatten(0, 1), None if labels is None else asked


PLANE = 48
"""Points in each direction at which a discriminator is asked about the plane."""


def discriminator_field(objective: Objective, networks: Networks, device: torch.device) -> Tensor | None:
    """What the discriminator says of a grid of points over [-1, 1] x [-1, 1], in evaluation mode.

    Neither the global random state nor any module's train mode is touched.

    Args:
        objective: For samples that are points of the plane.
        networks: All of them, on ``device``.
        device: Where the networks are.

    Returns:
        float32 (PLANE, PLANE) on the CPU, the rows from top to bottom; None where it cannot be asked.
    """
    axis = torch.linspace(-1, 1, PLANE)
    down, across = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    points = torch.stack([across, down], -1).view(-1, *objective.spec.shape).to(device)
    label = torch.zeros(len(points), dtype=torch.int64, device=device)
    with torch.no_grad(), full_precision(device), evaluating(networks), seeded(0, device):
        try:
            logits = objective.discriminate(networks, points, label)
        except Exception:  # a stranger's discriminator that takes something else: a picture ends no training
            return None
    return None if logits is None else logits.float().cpu().view(PLANE, PLANE)


def _cycled(objective: Objective, sources: Mapping[str, Tensor], n: int) -> dict[str, Tensor]:
    """What the objective generates from, repeated to n rows."""
    missing = [name for name in objective.generates_from if not len(sources.get(name, ()))]
    if missing:
        raise GanzooError(
            f"This generator starts from '{missing[0]}', which was not given.",
            f"Pass {missing[0]}=..., a tensor with one row for each sample.",
        )
    rows = torch.arange(n)
    return {name: sources[name][rows % len(sources[name])] for name in objective.generates_from}
