"""Process-wide state that a plugin must leave alone: default dtype and device, threads, flags, random numbers."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch


@dataclass(frozen=True)
class GlobalState:
    """A snapshot.

    Attributes:
        settings: Values by readable name.
        generators: States of the random number generators that checkpoints do not save, by module.
    """

    settings: dict[str, Any]
    generators: dict[str, Any]

    @classmethod
    def now(cls) -> GlobalState:
        """The current state."""
        return cls(_settings(), _generators())

    def changed_since(self, earlier: GlobalState) -> list[str]:
        """Each change as a verb phrase: ``changes torch's default dtype from ...``."""
        settings = [
            f"changes {name} from {value} to {self.settings[name]}"
            for name, value in earlier.settings.items()
            if self.settings[name] != value
        ]
        draws = [
            f"draws from {name}'s global generator, or seeds it"
            for name, value in earlier.generators.items()
            if repr(self.generators[name]) != repr(value)
        ]
        return [*settings, *draws]

    def restore(self) -> None:
        """Restore the snapshot. If torch was seeded since, its random numbers restart from the old seed."""
        now = _settings()
        for name, value in self.settings.items():
            if now[name] != value:
                _set(name, value)
        random.setstate(self.generators["random"])
        if "numpy" in sys.modules and "numpy" in self.generators:
            sys.modules["numpy"].random.set_state(self.generators["numpy"])


@contextmanager
def preserved_global_state() -> Iterator[None]:
    """Restore, at the end of the block, whatever it changed."""
    before = GlobalState.now()
    try:
        yield
    finally:
        before.restore()


def _settings() -> dict[str, Any]:
    return {
        "torch's default dtype": torch.get_default_dtype(),
        "torch's default device": str(torch.get_default_device()),
        "torch's number of threads": torch.get_num_threads(),
        "torch's use of deterministic algorithms": torch.are_deterministic_algorithms_enabled(),
        "torch's float32 matmul precision": torch.get_float32_matmul_precision(),
        "torch.backends.cudnn.benchmark": torch.backends.cudnn.benchmark,
        "torch.backends.cudnn.deterministic": torch.backends.cudnn.deterministic,
        "torch's grad mode": torch.is_grad_enabled(),
        "torch's anomaly detection": torch.is_anomaly_enabled(),
        "torch's seed": torch.initial_seed(),
        "the working directory": _working_directory(),
    }


def _working_directory() -> str:
    with suppress(OSError):
        return str(Path.cwd())
    return ""


def _set(name: str, value: Any) -> None:
    setters: dict[str, Callable[[Any], object]] = {
        "torch's default dtype": torch.set_default_dtype,
        "torch's default device": torch.set_default_device,
        "torch's number of threads": torch.set_num_threads,
        "torch's use of deterministic algorithms": torch.use_deterministic_algorithms,
        "torch's float32 matmul precision": torch.set_float32_matmul_precision,
        "torch.backends.cudnn.benchmark": lambda on: setattr(torch.backends.cudnn, "benchmark", on),
        "torch.backends.cudnn.deterministic": lambda on: setattr(torch.backends.cudnn, "deterministic", on),
        "torch's grad mode": torch.set_grad_enabled,
        "torch's anomaly detection": torch.autograd.set_detect_anomaly,
        "torch's seed": torch.manual_seed,
        "the working directory": os.chdir,
    }
    setters[name](value)


def _generators() -> dict[str, Any]:
    states: dict[str, Any] = {"random": random.getstate()}
    if "numpy" in sys.modules:
        states["numpy"] = sys.modules["numpy"].random.get_state(legacy=True)
    return states
