"""Shared by all benchmarks: when they run, which recipes they measure, on which machine, one zoo, and one MNIST."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from ganzoo import Dataset
from ganzoo.errors import nearest
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment
from ganzoo.training.device import use_available_cores
from machine import wait
from summary import summary

EVERYDAY = ("vanilla-mnist", "dcgan-mnist", "cgan-mnist", "wgan-gp-mnist", "r3gan-mnist")
"""Recipes that are measured by default: few enough for the suite to finish within ten minutes."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that narrow or widen the suite."""
    group = parser.getgroup("ganzoo benchmarks")
    group.addoption(
        "--recipe",
        action="append",
        default=[],
        metavar="NAME",
        help="measure these recipes, by name or pattern ('*' for all); may be repeated",
    )
    group.addoption(
        "--engine",
        action="append",
        default=[],
        choices=["eager", "compile", "cudagraph", "compile-cudagraph"],
        help="engine that executes steps; may be repeated (default: eager, and cudagraph on a GPU)",
    )
    group.addoption("--device", default="auto", help="cpu, cuda or cuda:N; auto takes the fastest")
    group.addoption("--quick", action="store_true", help="fewer and shorter runs: a quick look, not figures to quote")


def pytest_configure(config: pytest.Config) -> None:
    """Refuse a recipe that does not exist, rather than measure nothing and report success."""
    if patterns := config.getoption("recipe", default=[]):
        chosen_recipes(patterns)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """One benchmark for each requested recipe and engine."""
    option = metafunc.config.getoption
    if "recipe_name" in metafunc.fixturenames:
        metafunc.parametrize("recipe_name", chosen_recipes(option("recipe")))
    if "engine_name" in metafunc.fixturenames:
        gpu = resolve_device(option("device")).type == "cuda"
        metafunc.parametrize("engine_name", option("engine") or ["eager", *(["cudagraph"] if gpu else [])])


def chosen_recipes(patterns: list[str]) -> list[str]:
    """Registered recipes that match; without patterns, the everyday ones and all recipes of other distributions.

    Raises:
        UsageError: A pattern matches no recipe.
    """
    recipes = list(load_zoo().recipes)
    for pattern in patterns:
        if not any(fnmatchcase(entry.name, pattern) for entry in recipes):
            hint = nearest(pattern, [entry.name for entry in recipes])
            raise pytest.UsageError(f"--recipe {pattern} matches no recipe. {hint}".strip())
    if patterns:
        return [entry.name for entry in recipes if any(fnmatchcase(entry.name, pattern) for pattern in patterns)]
    ours = {entry.distribution for entry in recipes if entry.name in EVERYDAY}
    return [entry.name for entry in recipes if entry.name in EVERYDAY or entry.distribution not in ours]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Benchmarks need the machine to themselves, so they are collected only with --benchmark-only or when named."""
    if config.getoption("benchmark_only", default=False):
        return None
    here = Path(__file__).parent
    named = [Path(argument.partition("::")[0]).resolve() for argument in config.invocation_params.args]
    return None if any(path.is_relative_to(here) for path in named) else True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give benchmarks more time than tests: beside a busy process they take long, and only a hang should end them."""
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.timeout(3600))


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print throughput, scores and ratios, from the same times as pytest-benchmark's own table."""
    session = getattr(config, "_benchmarksession", None)
    lines = summary((one.extra_info, one.stats) for one in session.benchmarks if one.stats.data) if session else []
    if lines:
        terminalreporter.section("ganzoo")
        for line in lines:
            terminalreporter.write_line(line)


@pytest.hookimpl(optionalhook=True)
def pytest_benchmark_update_machine_info(config: pytest.Config, machine_info: dict[str, Any]) -> None:
    """Add to what pytest-benchmark records: threads, GPU and the versions of everything that computes."""
    machine_info["ganzoo"] = environment(resolve_device(config.getoption("device", default="auto")))


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The requested device, or the fastest one available."""
    use_available_cores()
    return resolve_device(request.config.getoption("device"))


@pytest.fixture(scope="session")
def rounds(request: pytest.FixtureRequest) -> int:
    """Number of rounds of each measurement."""
    return 2 if request.config.getoption("quick") else 7


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """Everything that is registered."""
    return load_zoo()


@pytest.fixture(scope="session")
def mnist(zoo: Zoo) -> Dataset:
    """MNIST's 60,000 training images."""
    return zoo.datasets.get("mnist").create("train", None)


@pytest.fixture(scope="session")
def finished(device: torch.device) -> Callable[[], None]:
    """Waits until the device has finished its work."""
    return partial(wait, device)
