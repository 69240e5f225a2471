"""Mathematical functions that adversarial methods share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import conv2d
from torch.nn.grad import conv2d_input, conv2d_weight

TINY = 1e-12
"""Added under a square root whose argument may be exactly zero; a norm of 1 changes by 5e-13."""


def input_gradient(critic: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    """The gradient of a critic's summed outputs with respect to its inputs, itself differentiable.

    It is computed in one of two ways, because neither works everywhere: inside a compiled phase, only
    ``torch.func.grad`` can be traced; in eager mode, it fails on batch normalisation in training mode.

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
    """Squared Euclidean norm of each sample: (n, ...) to (n,), at least in float32.

    In bfloat16 training, G's images and the gradients with respect to them are bfloat16, which is too coarse for
    summing squares.
    """
    return x.flatten(1).to(torch.promote_types(x.dtype, torch.float32)).square().sum(1)


def norm(x: Tensor) -> Tensor:
    """Euclidean norm of each sample, (n, ...) to (n,), with a finite gradient even where a sample is zero."""
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
    """One-hot vectors: int64 (...) to int64 (..., classes), all zeros for an index that is not a class.

    torch's own function checks for such indices, and waits for the result on some devices.
    """
    return (index.unsqueeze(-1) == torch.arange(classes, device=index.device)).long()


class _Convolution(torch.autograd.Function):
    """The partial derivative of A(x, w, g) = Σ g · (x * w) with respect to the argument that is None.

    A is linear in each argument, so the derivatives are the convolution itself and its gradients. Their gradients are
    again among the three, and so are derivatives of any order.
    """

    @staticmethod
    def forward(x: Any, w: Any, g: Any, shape: torch.Size | None, padding: int, groups: int) -> Any:
        if x is None:
            return conv2d_input(shape, w, g, padding=padding, groups=groups)  # type: ignore[no-untyped-call]
        if w is None:
            return conv2d_weight(x, shape, g, padding=padding, groups=groups)  # type: ignore[no-untyped-call]
        return conv2d(x, w, padding=padding, groups=groups)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.options = inputs[4:]

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        three = [gradients[0] if tensor is None else tensor for tensor in ctx.saved_tensors]
        partial: list[Tensor | None] = [None] * 6
        for index, (tensor, needed) in enumerate(zip(three, ctx.needs_input_grad, strict=False)):
            if needed:
                others = [*three[:index], None, *three[index + 1 :]]
                partial[index] = _convolution(*others, tensor.shape, *ctx.options)
        return tuple(partial)


_convolution: Callable[..., Tensor] = _Convolution.apply


def grouped_conv2d(
    maps: Tensor, weight: Tensor, bias: Tensor | None = None, *, padding: int = 0, groups: int
) -> Tensor:
    """``torch.nn.functional.conv2d``, with a second derivative whose cost does not grow with the number of groups.

    torch's own second derivative, which R1, R2 and path lengths need, calls the device several times for each group:
    thousands of times if each map is a group. Avoiding these calls makes a CPU no faster, so CPUs use torch's own
    derivative, as do compiled phases.

    Args:
        maps: Maps (n, inputs, h, w).
        weight: Kernels (outputs, inputs / groups, k, k).
        bias: Values (outputs,).
        padding: Zeros on each side.
        groups: Number of groups that the maps are divided into, each with its own kernels.

    Returns:
        Maps (n, outputs, h + 2 · padding - k + 1, w + 2 · padding - k + 1).
    """
    if maps.is_cpu or torch.compiler.is_compiling():
        return conv2d(maps, weight, bias, padding=padding, groups=groups)
    kind = maps.device.type
    if torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind):
        dtype = torch.get_autocast_dtype(kind)  # here, because derivatives may be taken with autocast off
        maps, weight = maps.to(dtype), weight.to(dtype)
    result = _convolution(maps, weight, None, None, padding, groups)
    return result if bias is None else result + bias.to(result.dtype)[:, None, None]
