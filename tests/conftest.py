"""Shared by all tests: a separate cache, one zoo, one MNIST."""

from __future__ import annotations

import copy
import logging
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from ganzoo import Dataset
    from ganzoo.registry.loading import Zoo

# Variables that a user may have set, and that would change what the tests see.
PERSONAL = ("GANZOO_PLUGINS", "GANZOO_DISABLE_EXTERNAL_PLUGINS", "PYTHONWARNINGS", "FORCE_COLOR")
OWN_CACHE = pytest.StashKey[str]()


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """With --benchmark-only, do not import every test just to skip it."""
    return True if config.getoption("benchmark_only", default=False) else None


def pytest_configure(config: pytest.Config) -> None:
    """One cache for the whole session: workers and the processes that tests start inherit it from here."""
    for name in PERSONAL:
        os.environ.pop(name, None)
    # As at a terminal, also under nohup or in the background, where a shell has its commands ignore these.
    for number, usual in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, usual)
    if hasattr(config, "workerinput"):
        _use_one_thread()
        return
    # `worksteal` keeps a module's tests, and what they share, in one process. Here, since --dist among the options in
    # pyproject.toml would switch benchmarks off.
    if config.getoption("dist", "no") == "load":
        config.option.dist = "worksteal"
    cache = tempfile.mkdtemp(prefix="ganzoo-tests-")
    config.stash[OWN_CACHE] = cache
    os.environ["GANZOO_CACHE"] = cache


def pytest_unconfigure(config: pytest.Config) -> None:
    cache = config.stash.get(OWN_CACHE, None)
    if cache is not None:
        shutil.rmtree(cache, ignore_errors=True)


def _use_one_thread() -> None:
    """Workers already share the cores; more threads would only wait for one another."""
    os.environ["OMP_NUM_THREADS"] = "1"
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def zoo() -> Zoo:
    """Everything that is registered."""
    from ganzoo.registry.loading import load_zoo

    return load_zoo()


@pytest.fixture
def own_zoo(zoo: Zoo) -> Zoo:
    """A copy of everything that is registered, to which a test may add."""
    from ganzoo.registry.registry import KINDS

    own = copy.copy(zoo)
    for kind, name in KINDS.items():
        registry = copy.copy(zoo.registry(kind))
        registry._entries = dict(registry._entries)
        setattr(own, name, registry)
    return own


@pytest.fixture
def call(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """The ``ganzoo`` command in this process: exit code, standard output, standard error."""
    from ganzoo import cli

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ganzoo", *map(str, arguments)])
        # Each call adds a handler, and each handler would print a message again.
        for package in cli.LOGGERS:
            monkeypatch.setattr(logging.getLogger(package), "handlers", [])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        told = capsys.readouterr()
        return ended.value.code or 0, told.out, told.err

    yield command
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def fresh_zoo() -> Iterator[None]:
    """Let this process find what a test installs: plugins are loaded again in the test, and once more after it."""
    from ganzoo.registry.loading import load_zoo

    load_zoo.cache_clear()
    yield
    load_zoo.cache_clear()


@pytest.fixture(scope="session")
def mnist(zoo: Zoo) -> Dataset:
    """MNIST's 60,000 training images."""
    return zoo.datasets.get("mnist").create("train", None)


@pytest.fixture(scope="session")
def mnist_test(zoo: Zoo) -> Dataset:
    """MNIST's 10,000 test images."""
    return zoo.datasets.get("mnist").create("test", None)


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium, driven by Playwright, of which a process can run only one."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed: pip install playwright.")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("Chromium is not installed: apt-get install chromium.")
    quiet = ("background-networking", "component-update", "sync")
    flags = ["--no-sandbox", "--disable-gpu", "--no-first-run", *(f"--disable-{what}" for what in quiet)]
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=flags)
        yield chromium
        chromium.close()


@pytest.fixture(autouse=True)
def _seeded() -> None:
    """Seed every test, so that its random draws do not depend on the tests that ran before."""
    import torch

    torch.manual_seed(0)
