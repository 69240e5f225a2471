"""What the command's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def few_rounds() -> Iterator[None]:
    """The width of an interval is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("ganzoo.evaluation.intervals.ROUNDS", 3)
        yield
