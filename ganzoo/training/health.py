"""Health of a training run: weights that are no longer finite, and how the time of a step is spent."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Mapping
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm
from torch.profiler import ProfilerActivity, profile, record_function

from ganzoo.training.optim import MEASURED
from ganzoo.training.trainer import Trainer

STEP: Final = "a step of the training"
KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "matrix products": ("aten::mm", "aten::addmm", "aten::bmm", "aten::baddbmm", "aten::linear", "aten::matmul"),
    "convolutions": ("convolution", "conv2d", "conv_transpose2d", "mkldnn"),
    "optimizer and moving average": ("adam", "rmsprop", "sgd", "Optimizer", "lerp", "_foreach"),
    "normalisation": ("batch_norm", "layer_norm", "group_norm", "native_norm"),
    "activations and loss": ("relu", "tanh", "sigmoid", "softplus", "threshold", "clamp", "elu", "log_sigmoid"),
    "images, latents and random numbers": ("index", "gather", "rand", "normal_", "uniform_", "multinomial"),
    "copies and number formats": ("copy_", "cat", "contiguous", "clone", "aten::to", "_to_copy"),
    "Python between operators": (STEP,),
}
"""Parts of operators' names; the first kind that matches counts, and the rest is ``other``."""


def broken_networks(networks: Mapping[str, nn.Module]) -> list[str]:
    """The roles of networks with a weight or a running statistic that is not finite; waits for the device."""
    held: dict[str, list[Tensor]] = {}
    for role, network in networks.items():
        # Other buffers, such as an attention mask, may contain an infinity on purpose.
        statistics = [
            b for module in network.modules() if isinstance(module, MEASURED) for b in module.buffers(recurse=False)
        ]
        tensors = (*network.parameters(), *statistics)
        held[role] = [t.detach() for t in tensors if t.is_floating_point() and t.numel()]
    largest = {role: get_total_norm(tensors, math.inf) for role, tensors in held.items() if tensors}
    finite = torch.stack(list(largest.values())).isfinite().tolist() if largest else []
    return [role for role, whole in zip(largest, finite, strict=True) if not whole]


def shares_of_a_step(trainer: Trainer, steps: int = 40) -> dict[str, float]:
    """Shares of the time of some steps, by kind of work; they sum to 1.

    The steps are undone, so training continues bit for bit. The profiler itself takes some of the time, most of it
    between operators. On a GPU, this is the host's time, which is spent on launching operators.

    Args:
        trainer: A trainer past its first steps, which allocate memory.
        steps: How many steps to profile.
    """
    # Keeps the profiler's library from writing its own log to the terminal, unless the user wants it.
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    with trainer.rehearsal(), profile(activities=[ProfilerActivity.CPU]) as profiler:
        for _ in range(steps):
            with record_function(STEP):
                trainer.step()
    spent: Counter[str] = Counter(dict.fromkeys((*KINDS, "other"), 0.0))
    for event in profiler.key_averages():
        spent[kind_of(event.key)] += event.self_cpu_time_total
    return {kind: time / spent.total() for kind, time in spent.items()}


def kind_of(operator: str) -> str:
    """The kind of work that an operator does."""
    return next((kind for kind, parts in KINDS.items() if any(part in operator for part in parts)), "other")
