"""Batch normalisation over the batch of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.training.distributed import in_contact

LAYERS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation whose mean and variance are those of all processes' images together.

    torch's own ``SyncBatchNorm`` exists on GPUs alone, and forbids a second derivative. Every process has as many
    images, and calls the layer in the same order.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, channels, ...), n images in this process."""
        if not self.training and self.running_mean is not None:
            return super().forward(input)
        over, x = [0, *range(2, input.dim())], input.float()
        mean = _mean_of_all(x.mean(over))
        shape = [1, -1, *[1] * (input.dim() - 2)]
        centred = x - mean.view(shape)
        variance = _mean_of_all(centred.square().mean(over))
        if self.training and self.running_mean is not None:
            self._follow(mean, variance, x.numel() // x.shape[1] * dist.get_world_size())
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, n: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * n / max(1, n - 1), share)

    def _check_input_dim(self, input: Tensor) -> None:
        """Whatever the layer in whose place it stands was given."""


class _Sum(torch.autograd.Function):
    """The sum over all processes; so is its gradient, since each process's output depends on everyone's input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        with in_contact():
            dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _summed(gradient)


def _summed(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x.contiguous())  # type: ignore[no-untyped-call]
    return total


def _mean_of_all(x: Tensor) -> Tensor:
    return _summed(x) / dist.get_world_size()


def share_batch_norm(network: nn.Module) -> None:
    """Put a ``SharedBatchNorm`` with the same state in the place of each batch normalisation below a module."""
    for name, child in network.named_children():
        if isinstance(child, LAYERS):
            setattr(network, name, _shared(child))
        else:
            share_batch_norm(child)


def _shared(layer: _BatchNorm) -> SharedBatchNorm:
    tracks = layer.track_running_stats
    new = SharedBatchNorm(layer.num_features, layer.eps, layer.momentum, layer.affine, tracks)
    new.load_state_dict(layer.state_dict())
    return new.train(layer.training)
