"""Shared by the contract tests: networks with few units. Their layers are those of wide ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

FEW: dict[str, Any] = {"width": 8, "hidden": [16, 16], "style": 16}
"""By the name of an option of a network."""


@pytest.fixture(scope="session")
def few() -> Callable[[Iterable[str]], dict[str, Any]]:
    """Of a network's options, those that make it narrow, with values."""
    return lambda options: {name: FEW[name] for name in options if name in FEW}
