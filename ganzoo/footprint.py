"""Networks too large for the machine, refused before anything is allocated for them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.module import (
    register_module_buffer_registration_hook,
    register_module_parameter_registration_hook,
)

from ganzoo.errors import GanzooError

BYTES = 4
"""Of one weight: networks are built in single precision."""


class _TooLarge(BaseException):
    """Passes through whatever a plugin catches."""


def refuse_giant(what: str, build: Callable[[], object], memory: int | None = None) -> None:
    """Build a network on the meta device, where tensors have sizes and no memory, and count its weights.

    Counting stops at the limit, so that a thousand million small layers are refused as well as one giant. A network
    that cannot be built there is left to the real building, which says why.

    Args:
        what: The network, for the sentence.
        build: Builds it.
        memory: Bytes there are; this machine's memory where None.

    Raises:
        GanzooError: Its weights alone would not fit into memory.
    """
    limit = (memory or _memory()) // BYTES
    weights = 0

    def note(module: nn.Module, name: str, tensor: Tensor | None) -> None:
        nonlocal weights
        weights += 0 if tensor is None else tensor.numel()
        if weights > limit:
            raise _TooLarge

    hooks: list[Any] = [
        register_module_parameter_registration_hook(note),
        register_module_buffer_registration_hook(note),
    ]
    try:
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            build()
    except _TooLarge:
        raise GanzooError(
            f"The {what} would have more than {limit:,} weights, which is all that this machine's memory of "
            f"{limit * BYTES / 2**30:,.1f} GiB holds.",
            "Lower its sizes.",
        ) from None
    except Exception:  # noqa: S110 (its real building follows, and fails with a sentence)
        pass
    finally:
        for hook in hooks:
            hook.remove()


def _memory() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 2**40  # not told here: what no machine of today has
