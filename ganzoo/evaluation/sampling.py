"""Draw samples from a generator without disturbing its training."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn

from ganzoo.api.bounds import INT64
from ganzoo.api.metric import evaluating
from ganzoo.api.objective import Networks, Objective
from ganzoo.errors import Diverged, GanzooError
from ganzoo.reproducibility import derive_seed, full_precision, seeded

BATCH = 500  # images
WHOLE = (0, 1)  # all batches, starting with the first
MAPPED = 10_000  # codes, shared by the classes, whose mean w truncation moves towards


def draw(
    objective: Objective,
    networks: Networks,  # at least `objective.samples_with`, on `device`
    n: int,
    *,
    seed: int,  # of the codes, and of any randomness inside the networks
    device: torch.device,
    labels: Tensor | None = None,  # int64 (n,); if None, the classes are cycled through evenly
    classes: int = 0,  # 0 if unconditional
    codes: Tensor | None = None,  # (n, latent), instead of drawing them
    truncation: float = 1.0,  # from 1, none, to 0: all codes (or w, if the generator has it) in the middle
    sources: Mapping[str, Tensor] | None = None,  # columns of `generates_from`, and of `shows` for overviews, cycled
    shape: tuple[int, ...] | None = None,  # of one sample, if its source has another size than the dataset's
    batch_size: int = BATCH,
    part: tuple[int, int] = WHOLE,  # (k, m): every m-th batch from the k-th; others stay zero, so that parts add up
    overview: bool = False,  # the objective's `views` of each code, those of one code together
) -> tuple[Tensor, Tensor | None]:
    """Draw images in evaluation mode and full precision; the same arguments give the same images.

    The global random state and the modules' training modes are left unchanged. Latent codes are drawn on the CPU, so
    that they are the same for every device. Returns samples (n, *shape) in their modality's stored form, and their
    labels (n,), or None if the objective is unconditional; both on the CPU.
    """
    if n < 1:
        raise GanzooError(f"Cannot draw {n} images.", "Request at least one.")
    if not 0 <= seed <= INT64[1]:
        raise GanzooError(f"The seed {seed} is out of range.", f"Give one from 0 to {INT64[1]}.")
    if not 0 <= truncation <= 1:
        raise GanzooError(
            f"The truncation {truncation} is out of range.", "Give a number from 0 to 1; 1 is no truncation."
        )
    if labels is None and classes:
        labels = torch.arange(n) % classes
    if codes is None:
        codes = objective.spec.prior.sample(n, torch.Generator().manual_seed(seed), torch.device("cpu"))
    generator = dict(networks).get("generator")  # a ModuleDict has no `get` of its own
    in_w = isinstance(getattr(generator, "mapping", None), nn.Module) and hasattr(generator, "synthesis")
    if truncation < 1 and not in_w:
        codes = objective.spec.prior.truncate(codes, truncation)
    condition = torch.zeros(n, dtype=torch.int64) if labels is None else labels.cpu()
    modality = objective.spec.modality
    views, generate = (objective.views, objective.overview) if overview else (1, objective.generate_from)
    images = torch.zeros(n, views, *(shape or modality.shape), dtype=modality.stored)
    sources = sources or {}
    names = (*objective.generates_from, *(objective.shows if overview else ()))
    for name in names:
        if not len(sources.get(name, ())):
            raise GanzooError(
                f"This generator starts from '{name}', which was not given.",
                f"Pass {name}=..., a tensor with one row for each sample.",
            )
    columns = {name: sources[name][torch.arange(n) % len(sources[name])] for name in names}
    with (
        torch.no_grad(),
        full_precision(device),
        evaluating(networks),
        _truncated_w(objective, networks, classes, truncation, device) if in_w and truncation < 1 else nullcontext(),
    ):
        for start in range(part[0] * batch_size, n, part[1] * batch_size):
            rows = slice(start, start + batch_size)
            # Each batch has its own seed, so that it does not depend on who draws the batches before it; and a seed
            # other than that of the codes.
            with seeded(derive_seed(seed + start, "noise"), device):
                starts = {name: modality.inputs(column[rows].to(device)) for name, column in columns.items()}
                outputs = generate(networks, codes[rows].to(device), condition[rows].to(device), starts)
            if not outputs.isfinite().all():
                raise Diverged(
                    "The generator draws NaN or infinite values.", "Its training has diverged; lower the learning rate."
                )
            samples = outputs.flatten(0, 1) if overview else outputs
            images[rows] = modality.from_network(samples).cpu().view(-1, *images.shape[1:])
    return images.flatten(0, 1), None if labels is None else condition


def _truncated_w(
    objective: Objective, networks: Networks, classes: int, truncation: float, device: torch.device
) -> AbstractContextManager[Any]:
    """The truncation trick in w (Karras et al. 2019, arXiv:1812.04948, appendix B): w' = w̄ + ψ(w - w̄).

    w̄ is the mean of a conditional generator's w of the same class, because the mean over all classes belongs to none.
    """
    mapping = cast("nn.Module", networks["generator"].mapping)
    each = max(100, MAPPED // max(1, classes))
    labels = torch.arange(max(1, classes), device=device).repeat_interleave(each)
    codes = objective.spec.prior.sample(len(labels), torch.Generator().manual_seed(0), torch.device("cpu")).to(device)
    means: Tensor = mapping(codes, *objective.condition(labels)).unflatten(0, (-1, each)).mean(1)

    def move(_: nn.Module, inputs: tuple[Tensor, ...], w: Tensor) -> Tensor:
        centre = means[inputs[1]] if classes else means
        return centre + truncation * (w - centre)

    return mapping.register_forward_hook(move)


PLANE = 48  # points in each direction of the grid that a discriminator is evaluated on


def discriminator_field(objective: Objective, networks: Networks, device: torch.device) -> Tensor | None:
    """Logits on a grid over [-1, 1]², float32 (PLANE, PLANE) from top to bottom, on the CPU; None if that fails."""
    axis = torch.linspace(-1, 1, PLANE)
    down, across = torch.meshgrid(axis.flip(0), axis, indexing="ij")
    points = torch.stack([across, down], -1).view(-1, *objective.spec.shape).to(device)
    label = torch.zeros(len(points), dtype=torch.int64, device=device)
    with torch.no_grad(), full_precision(device), evaluating(networks), seeded(0, device):
        try:
            logits = objective.discriminate(networks, points, label)
        except Exception:  # a plugin's discriminator may take other inputs; a picture must not end a training run
            return None
    return None if logits is None else logits.float().cpu().view(PLANE, PLANE)
