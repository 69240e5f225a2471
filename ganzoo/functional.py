"""Pure maths that adversarial methods share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

TINY = 1e-12
"""Added under a square root whose argument may be exactly zero; a norm of 1 changes by 5e-13."""


def input_gradient(critic: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The gradient of a critic's summed outputs with respect to its inputs, itself differentiable.

    One helper, because the two ways each fail somewhere: inside a compiled phase only ``torch.func.grad`` traces,
    in eager mode it fails through train-mode batch normalisation.

    Args:
        critic: From images (n, ...) to outputs (n,).
        inputs: Images (n, ...).

    Returns:
        Tensor of the shape and type of ``inputs``.
    """
    if torch.compiler.is_compiling():
        traced: Tensor = torch.func.grad(lambda x: critic(x).float().sum())(inputs.detach())
        return traced
    leaf = inputs.detach().requires_grad_()
    (gradient,) = torch.autograd.grad(critic(leaf).float().sum(), leaf, create_graph=True)
    return gradient


def squared_norm(x: Tensor) -> Tensor:
    """Squared Euclidean norm of each sample: (n, ...) to (n,), in float32 at least.

    Where training is in bfloat16, G's images are, and so are gradients at them: too coarse to add up squares in.
    """
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32)).square().sum(1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, (n, ...) to (n,), with a finite slope where a sample is zero."""
    return (squared_norm(x) + TINY).sqrt()


def interpolate(real: Tensor, fake: Tensor) -> Tensor:
    """One uniformly drawn point on the line between each pair (Gulrajani et al. 2017, Algorithm 1, line 5).

    Args:
        real: Images (n, ...).
        fake: Images (n, ...).

    Returns:
        Images (n, ...).
    """
    mix = torch.rand(len(real), *[1] * (real.dim() - 1), dtype=real.dtype, device=real.device)
    return torch.lerp(real, fake.to(real.dtype), mix)


def one_hot(index: Tensor, classes: int) -> Tensor:
    """One-hot vectors: int64 (...) to int64 (..., classes), zeros where an index is no class.

    torch's own looks whether there is such an index, and on some devices waits for the answer.
    """
    return (index.unsqueeze(-1) == torch.arange(classes, device=index.device)).long()
