"""Path length regularization: a step of one size in w changes the image by one size, wherever it is taken.

Karras et al. 2020, "Analyzing and Improving the Image Quality of StyleGAN" (StyleGAN2), arXiv:1912.04958. With
J = ∂g(w)/∂w and y white noise in the shape of an image, scaled by 1 / √pixels:

    E_{w, y}[(‖Jᵀ y‖ - a)²],        a a moving average of ‖Jᵀ y‖ (decay 0.99, from zero)

Jᵀ y is the gradient of g(w)·y, so that no Jacobian is ever made. The weight is 2, and ``every_steps`` 4 in the authors'
code. There w enters each layer on its own and the lengths are averaged over layers; here it is the one w that all
share. a is a constant to the gradient. Where a generator has no mapping network w is the code itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Register, Regularizer, Turn, functional, hookimpl

PAPER = "Karras et al. 2020, Analyzing and Improving the Image Quality of StyleGAN, arXiv:1912.04958"


def path_lengths(synthesis: Callable[[Tensor], Tensor], w: Tensor) -> Tensor:
    """‖Jᵀ y‖ (n,) at codes w (n, d) for one random y each, differentiable in the weights and in w."""

    def projected(offset: Tensor) -> Tensor:
        images = synthesis(w + offset)
        noise = torch.randn_like(images) / math.sqrt(images.shape[-2] * images.shape[-1])
        return (images * noise).flatten(1).sum(1)

    # The slope at a zero offset is the one at w, and w keeps its graph, so that the mapping network learns too.
    return functional.norm(functional.input_gradient(projected, torch.zeros_like(w)))


class PathLength(Regularizer):
    """Ties the lengths of paths to their moving average.

    Args:
        weight: Of the penalty.
        every_steps: Steps between applications.
        decay: Weight of the old average in each application.
    """

    side = "generator"
    average: Tensor

    def __init__(
        self, *, weight: float = 2.0, every_steps: int = 1, decay: Annotated[float, Field(ge=0, lt=1)] = 0.99
    ) -> None:
        super().__init__(weight=weight, every_steps=every_steps)
        self.decay = decay
        self.register_buffer("average", torch.zeros(()))

    def penalty(self, turn: Turn) -> Tensor:
        """E[(‖Jᵀ y‖ - a)²], after a moved towards these lengths."""
        generator: Any = turn.networks["generator"]
        if hasattr(generator, "mapping") and hasattr(generator, "synthesis"):
            lengths = path_lengths(generator.synthesis, generator.mapping(turn.batch.z, *turn.condition))
        else:
            lengths = path_lengths(turn.generate, turn.batch.z)
        lengths = lengths.to(torch.promote_types(lengths.dtype, torch.float32))
        self.average.lerp_(lengths.detach().mean().to(self.average), 1 - self.decay)
        return (lengths - self.average).square().mean()


@hookimpl
def register_regularizers(register: Register[Regularizer]) -> None:
    """Path length regularization."""
    register("path-length", PathLength, summary="Steps in w change images by one size everywhere", paper=PAPER)
