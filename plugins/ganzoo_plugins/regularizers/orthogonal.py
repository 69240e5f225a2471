"""Orthogonal regularization: the filters of a layer should not duplicate one another.

Brock, Lim, Ritchie & Weston 2017, "Neural Photo Editing with Introspective Adversarial Networks", arXiv:1609.07093, and
Brock, Donahue & Simonyan 2019, "Large Scale GAN Training for High Fidelity Natural Image Synthesis" (BigGAN),
arXiv:1809.11096, section 3.1. For each layer's weight W, with one filter per row:

    strict:  β/2 Σ ‖W Wᵀ - I‖_F²                      relaxed:  β/2 Σ ‖W Wᵀ ⊙ (1 - I)‖_F²,    β = 1e-4

The relaxed form does not constrain the filters' lengths. BigGAN applies it to G's weights, also the default here. W is
the weight of each layer that has one, before any spectral normalisation; embeddings are left out, as in BigGAN. Filters
of a grouped convolution are compared only within their groups: different groups see different inputs.

Differences from the paper:

- BigGAN's equation has no 1/2; with it, the relaxed form has the gradient of BigGAN's code, 2β (W Wᵀ ⊙ (1 - I)) W, half
  the equation's.
- The first paper sums absolute values instead of squares.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import _SpectralNorm

from ganzoo import (
    EverySteps,
    GanzooError,
    Networks,
    Register,
    Regularizer,
    RegularizerContext,
    Spec,
    Weight,
    beside,
    hookimpl,
)

PAPER = "Brock, Donahue & Simonyan 2019, Large Scale GAN Training (BigGAN), arXiv:1809.11096"

Convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def weight_of(layer: nn.Module) -> Tensor | None:
    """A layer's weight, if any, without spectral normalisation, whose every reading would run a power iteration."""
    if parametrize.is_parametrized(layer, "weight"):
        steps = cast("nn.ModuleDict", layer.parametrizations)["weight"]
        if any(isinstance(step, _SpectralNorm) for step in cast("nn.ModuleList", steps)):
            return cast("Tensor", steps.original)
    weight = getattr(layer, "weight", None)
    return weight if isinstance(weight, Tensor) else None


def filters(network: nn.Module) -> Iterator[Tensor]:
    """The weight of each layer as (groups, filters of a group, inputs of a filter)."""
    for layer in network.modules():
        weight = None if isinstance(layer, (nn.Embedding, nn.LayerNorm)) else weight_of(layer)
        if weight is not None and weight.dim() > 1:
            groups = layer.groups if isinstance(layer, (*Convolution, *Transposed)) else 1
            parts = weight.view(groups, -1, *weight.shape[1:])
            yield (parts.transpose(1, 2) if isinstance(layer, Transposed) else parts).flatten(2)


class Orthogonal(Regularizer):
    """Penalises the inner products between the filters of each layer.

    Args:
        weight: β.
        every_steps: Steps between applications.
        side: The player whose weights are regularised.
        strict: Whether to pull the filters' lengths to 1 as well.
    """

    def __init__(
        self,
        *,
        weight: Weight = 1e-4,
        every_steps: EverySteps = 1,
        side: Literal["discriminator", "generator"] = "generator",
        strict: bool = False,
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.side = side
        self.strict = strict

    def bind(self, spec: Spec, networks: Networks) -> None:
        """Refuse a network without layers to regularise."""
        if next(filters(networks[self.side]), None) is None:
            raise GanzooError(
                f"Orthogonal regularization found no layer with filters in the {self.side}.",
                "Choose the other side, or another network.",
            )

    def penalty(self, context: RegularizerContext) -> Tensor:
        """1/2 Σ ‖W Wᵀ - I‖_F², or 1/2 Σ ‖W Wᵀ ⊙ (1 - I)‖_F²."""
        device = context.batch.real.device
        total = torch.zeros((), device=device)
        with torch.autocast(device.type, enabled=False):
            for rows in filters(context.networks[self.side]):
                product = rows @ rows.mT
                one = torch.eye(product.shape[-1], device=rows.device)
                total = total + (product - (one if self.strict else one * product)).square().sum()
        return total / 2


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    register("orthogonal", Orthogonal, summary="Filters of a layer are orthogonal", paper=PAPER, aliases=("ortho",))


register_recipes = beside(__file__, "orthogonal-mnist")
