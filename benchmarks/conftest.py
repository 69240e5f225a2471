"""What all benchmarks share: when they run, the machine they ran on, one zoo, one MNIST."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo import ImageDataset
from ganzoo.plugins import Zoo, load_zoo
from ganzoo.runs.environment import environment
from ganzoo.training.precision import resolve_device


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks need the machine to themselves: they are collected with --benchmark-only, or when named."""
    if config.getoption("benchmark_only", default=False):
        return None
    here = Path(__file__).parent
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.invocation_params.args]
    return None if any(path.is_relative_to(here) for path in named) else True


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Beside what pytest-benchmark notes itself: threads, GPU and the versions of everything that computes."""
    machine_info["ganzoo"] = environment(resolve_device("auto"))


@pytest.fixture(scope="session")
def device() -> torch.device:
    """The fastest device there is."""
    return resolve_device("auto")


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """Everything that is registered."""
    return load_zoo()


@pytest.fixture(scope="session")
def mnist(zoo: Zoo) -> ImageDataset:
    """MNIST's 60,000 training images."""
    return zoo.datasets.get("mnist").create("train", None)


@pytest.fixture(scope="session")
def finished(device: torch.device) -> Callable[[], None]:
    """Waits until the device has done what it was asked; a clock read earlier measures only the asking."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return wait
