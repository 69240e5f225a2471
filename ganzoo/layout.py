"""How convolutions lie in memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.utils import convert_conv2d_weight_memory_format

from ganzoo.errors import GanzooError


def channels_last(networks: nn.Module, probe: Callable[[], None]) -> None:
    """Let convolutions keep a pixel's channels beside one another, which their kernels are faster with.

    Torch carries that on from weights to feature maps. The sizes of tensors stay, but a network that calls ``view``
    on its maps no longer works: such networks are left as they were.

    Args:
        networks: Whose weights are laid out anew, in place.
        probe: Runs them; raises GanzooError where they fail.
    """
    convert_conv2d_weight_memory_format(networks, torch.channels_last)
    try:
        probe()
    except GanzooError:
        convert_conv2d_weight_memory_format(networks, torch.contiguous_format)
