"""Shared by the contract tests: networks with few units and layers. Each kind of layer stays."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

FEW: dict[str, Any] = {
    "width": 8,
    "hidden": [16, 16],
    "style": 16,
    "mapping_layers": 2,
    "blocks": 1,
    "steps": 2,
    "kernels": 8,
}
"""By the name of an option of a network."""


@pytest.fixture(scope="session")
def few() -> Callable[[Iterable[str]], dict[str, Any]]:
    """Of a network's options, those that make it small, with values."""
    return lambda options: {name: FEW[name] for name in options if name in FEW}
