"""How torch rounds while it trains: TF32, cuDNN's choice of kernels, and the promise of the same bits.

These are settings of the whole process. They hold while a step is taken and are what they were afterwards, so that
neither scores nor the code around a training depend on them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from ganzoo.config.schema import TrainConfig
from ganzoo.errors import GanzooError

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
FIXED_WORKSPACES = (":4096:8", ":16:8")
"""With one of these, cuBLAS adds in one order; NVIDIA's documentation of cublasSetWorkspace says so."""
_NO_SUCH_KERNEL = re.compile(r"^(?P<operation>\S+).{0,100}? does not have a deterministic implementation")


def refuse_tf32_elsewhere(precision: str, device: torch.device) -> None:
    """Check that TF32 is asked for on a GPU that may have it.

    Raises:
        GanzooError: The device is none.
    """
    if precision == "tf32" and device.type != "cuda":
        raise GanzooError(
            f"train.precision=tf32 is a number format of CUDA GPUs, and this training is on {device.type}.",
            "Use train.precision=auto, or fp32.",
        )


def fix_workspace() -> None:
    """Have cuBLAS add in one order. It reads the setting once, when CUDA starts.

    Raises:
        GanzooError: CUDA has started already, or the user set another workspace.
    """
    if not torch.cuda.is_available() or os.environ.get(WORKSPACE) in FIXED_WORKSPACES:
        return
    if WORKSPACE in os.environ or torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        found = f"is {os.environ[WORKSPACE]}" if WORKSPACE in os.environ else "was not set before CUDA started"
        raise GanzooError(
            f"train.deterministic needs another cuBLAS workspace: {WORKSPACE} {found}.",
            f"Set {WORKSPACE}={FIXED_WORKSPACES[0]} before Python starts.",
        )
    os.environ[WORKSPACE] = FIXED_WORKSPACES[0]


@contextmanager
def numerics(config: TrainConfig, precision: str, device: torch.device) -> Iterator[None]:
    """A recipe's arithmetic, for one step.

    Args:
        config: Its ``train`` section.
        precision: What ``train.precision`` became.
        device: Where the step is taken.

    Raises:
        GanzooError: ``train.deterministic``, and an operation has no deterministic implementation there.
    """
    if device.type != "cuda" and not config.deterministic:
        yield
        return
    products = torch.get_float32_matmul_precision()
    algorithms = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    try:
        torch.set_float32_matmul_precision("high" if precision == "tf32" else "highest")
        if config.deterministic:
            torch.use_deterministic_algorithms(True)
        with torch.backends.cudnn.flags(
            enabled=torch.backends.cudnn.enabled,
            benchmark=config.cudnn_benchmark,
            deterministic=config.deterministic,
            allow_tf32=precision == "tf32",
        ):
            yield
    except RuntimeError as error:
        found = _NO_SUCH_KERNEL.match(str(error)) if config.deterministic else None
        if found is None:
            raise
        raise GanzooError(
            f"train.deterministic: torch has no deterministic '{found['operation']}' on {device.type}, and this recipe "
            "uses it.",
            "Set train.deterministic=false, or leave out the part that uses it (an augmentation, a resampling).",
        ) from error
    finally:
        torch.set_float32_matmul_precision(products)
        if config.deterministic:
            torch.use_deterministic_algorithms(algorithms[0], warn_only=algorithms[1])
