"""Reproducible computations: devices, seeds, random states, process-wide settings, precision, digests of tensors."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import GanzooError

DEVICES = ("cpu", "cuda", "mps", "xpu")  # these can train: others of torch's hold no data, or need extensions


def resolve_device(name: str) -> torch.device:
    """The device with a name, if it is available; ``auto`` is CUDA if available, else the CPU."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name.partition(":")[0] not in DEVICES:
        raise GanzooError(f"Unknown device '{name}'.", f"Known: auto, {', '.join(DEVICES)}, and cuda:1 for the second.")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except Exception as error:  # each backend raises its own
        reason = str(error).splitlines()[0].partition(". ")[0].rstrip(".")  # torch lists all its backends after it
        gpus = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        remedy = f"Use --device {' or '.join(['cpu', *gpus])} (in Python device=..., in a recipe train.device)."
        if not gpus and name.startswith("cuda"):
            remedy = (
                "Use --device cpu (in Python device='cpu', in a recipe train.device: cpu), or install a GPU driver and "
                "a build of torch that supports your GPU."
            )
        raise GanzooError(f"Cannot use the device '{name}': {reason}.", remedy) from error
    return device


def global_state(device: torch.device) -> dict[str, Tensor]:
    """The states (uint8) of torch's default generators of the CPU and, if it is another, ``device``, by device type."""
    states = {"cpu": torch.get_rng_state()}
    if device.type != "cpu":
        states[device.type] = torch.get_device_module(device).get_rng_state(device)
    return states


def restore_global_state(states: Mapping[str, Tensor], device: torch.device, otherwise: int = 0) -> None:
    """Restore the result of ``global_state``; ``otherwise`` seeds an accelerator's generator whose state it lacks."""
    torch.set_rng_state(states["cpu"])
    if device.type != "cpu":
        state = states[device.type] if device.type in states else seeded_state(otherwise, device)
        torch.get_device_module(device).set_rng_state(state, device)


def seeded_state(seed: int, device: torch.device) -> Tensor:
    """The state of a device's generator after ``manual_seed``, uint8."""
    return torch.Generator(device).manual_seed(seed).get_state()


@contextmanager
def preserved_random_state(device: torch.device) -> Iterator[None]:
    """Restore, at the end of the block, the states of the default generators of the CPU and of ``device``."""
    before = global_state(device)
    try:
        yield
    finally:
        restore_global_state(before, device)


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed the default generators of the CPU and ``device`` for the block; ``torch.manual_seed`` seeds every device."""
    with preserved_random_state(device):
        restore_global_state({"cpu": seeded_state(seed, torch.device("cpu"))}, device, seed)
        yield


def derive_seed(seed: int, purpose: str) -> int:
    """The seed of one random stream; drawing more from one stream never changes another."""
    digest = hashlib.sha256(f"{seed}/{purpose}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def stream(seed: int, purpose: str, device: torch.device) -> torch.Generator:
    """The random number generator for one purpose, on ``device``."""
    return torch.Generator(device).manual_seed(derive_seed(seed, purpose))


def restore_stream(generator: torch.Generator, state: Tensor, otherwise: int) -> None:
    """Restore a generator's state, or seed the generator if the state was saved on another kind of device."""
    # Its size depends on the kind of device: about 5,000 bytes for a CPU, 16 for a GPU.
    if state.shape == generator.get_state().shape:
        generator.set_state(state)
    else:
        generator.manual_seed(otherwise)


def canonical_order(images: Tensor) -> Tensor:
    """Indices (n,) that sort the rows (n, ...) by their bytes, so that their order in a file does not matter."""
    values = images.contiguous().cpu().numpy().reshape(len(images), -1).view(np.uint8)
    return torch.from_numpy(np.argsort(values.view(f"V{values.shape[1]}").ravel(), kind="stable"))


def tensors_digest(named: Iterable[tuple[str, Tensor]]) -> str:
    """SHA-256 of tensors and their names, in this order. Recorded runs contain it, so its format must not change."""
    digest = hashlib.sha256()
    for name, tensor in named:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes, because numpy has no bfloat16, and without a copy: images may take gigabytes.
        digest.update(tensor.cpu().contiguous().view(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under a prefix, such as ``"ema.generator"``, by the rest of their names."""
    return {name.removeprefix(f"{prefix}."): t for name, t in tensors.items() if name.startswith(f"{prefix}.")}


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """No autocast and no TF32: samples and scores must not depend on how their run was trained."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.autocast(device.type, enabled=False),
            torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False),
        ):
            yield
    finally:
        torch.set_float32_matmul_precision(before)


@contextmanager
def default_modes() -> Iterator[None]:
    """Compute with torch's own defaults: new tensors are float32 on the CPU, with gradients and no inference mode."""
    # The default dtype is process-wide: if it was changed, two threads must not be in such blocks at the same time.
    dtype = torch.get_default_dtype()
    # A device context slows down every call of torch, so there is none unless it is needed.
    device = nullcontext() if torch.get_default_device().type == "cpu" else torch.device("cpu")
    torch.set_default_dtype(torch.float32)
    try:
        with torch.inference_mode(False), torch.enable_grad(), device:
            yield
    finally:
        torch.set_default_dtype(dtype)


def _working_directory() -> str:
    try:
        return str(Path.cwd())
    except OSError:
        return ""  # it was deleted


SETTINGS: Mapping[str, tuple[Callable[[], Any], Callable[[Any], object]]] = {  # state that plugins leave alone
    "torch's default dtype": (torch.get_default_dtype, torch.set_default_dtype),
    "torch's default device": (lambda: str(torch.get_default_device()), torch.set_default_device),
    "torch's number of threads": (torch.get_num_threads, torch.set_num_threads),
    "torch's use of deterministic algorithms": (
        torch.are_deterministic_algorithms_enabled,
        torch.use_deterministic_algorithms,
    ),
    "torch's float32 matmul precision": (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    "torch.backends.cudnn.benchmark": (
        lambda: torch.backends.cudnn.benchmark,
        lambda on: setattr(torch.backends.cudnn, "benchmark", on),
    ),
    "torch.backends.cudnn.deterministic": (
        lambda: torch.backends.cudnn.deterministic,
        lambda on: setattr(torch.backends.cudnn, "deterministic", on),
    ),
    "torch's grad mode": (torch.is_grad_enabled, torch.set_grad_enabled),
    "torch's anomaly detection": (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    "torch's seed": (torch.initial_seed, torch.manual_seed),
    "the working directory": (_working_directory, os.chdir),
    "random": (random.getstate, random.setstate),
    "numpy": (lambda: np.random.get_state(legacy=True), np.random.set_state),
}
GENERATORS = ("random", "numpy")  # states of random number generators, which checkpoints do not save


@dataclass(frozen=True)
class GlobalState:
    """A snapshot of the process-wide state that a plugin must leave alone: see ``SETTINGS``."""

    values: dict[str, Any]

    @classmethod
    def now(cls) -> GlobalState:
        """The current state."""
        return cls({name: read() for name, (read, _) in SETTINGS.items()})

    def changed_since(self, earlier: GlobalState) -> list[str]:
        """Each change as a verb phrase: ``changes torch's default dtype from ...``."""
        changed = [name for name, value in earlier.values.items() if repr(self.values[name]) != repr(value)]
        return [
            f"draws from {name}'s global generator, or seeds it"
            if name in GENERATORS
            else f"changes {name} from {earlier.values[name]} to {self.values[name]}"
            for name in changed
        ]

    def restore(self) -> None:
        """Restore the snapshot. If torch has been seeded since, its random numbers restart from the old seed."""
        for name, (read, write) in SETTINGS.items():
            if name in GENERATORS or read() != self.values[name]:
                write(self.values[name])


@contextmanager
def preserved_global_state() -> Iterator[None]:
    """Restore, at the end of the block, the process-wide state that it changed."""
    before = GlobalState.now()
    try:
        yield
    finally:
        before.restore()
