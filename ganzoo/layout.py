"""How convolutions lie in memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ganzoo.errors import GanzooError


def channels_last(networks: nn.Module, probe: Callable[[], None]) -> None:
    """Let convolutions keep a pixel's channels beside one another, which their kernels are faster with.

    Torch carries that on from weights to feature maps, except where vectors become maps or maps vectors: there it is
    seen to. The sizes of tensors stay, but a network that calls ``view`` on its maps no longer works: such networks are
    left as they were.

    Args:
        networks: Networks, whose weights are laid out anew, in place.
        probe: Runs them; raises GanzooError where they fail.
    """
    convert_conv2d_weight_memory_format(networks, torch.channels_last)
    try:
        probe()
    except GanzooError:
        convert_conv2d_weight_memory_format(networks, torch.contiguous_format)
        return
    for network in networks.children():
        if any(isinstance(module, nn.Conv2d | nn.ConvTranspose2d) for module in network.modules()):
            _join_layouts(network)


def _join_layouts(network: nn.Module) -> None:
    for module in network.modules():
        if isinstance(module, nn.Unflatten):
            module.register_forward_hook(_maps_last)
        elif isinstance(module, nn.Flatten):
            module.register_forward_pre_hook(_gradients_last)


def _maps_last(module: nn.Module, inputs: tuple[Any, ...], maps: Tensor) -> Tensor:
    return _last(maps) if maps.dim() == 4 else maps


def _gradients_last(module: nn.Module, inputs: tuple[Any, ...]) -> None:
    """The gradient that comes back through a flattening lies otherwise than the maps: an activation that is given both
    takes ten times as long over it. A compiler chooses its own layouts.
    """
    maps = inputs[0]
    if maps.dim() == 4 and maps.requires_grad and not torch.compiler.is_compiling():
        maps.register_hook(_last)


def _last(maps: Tensor) -> Tensor:
    return maps.contiguous(memory_format=torch.channels_last)
