"""Numbers and times as text, for a terminal and for pages."""

from __future__ import annotations

import math
from collections.abc import Sequence

NOTHING = "–"
_SHORT = ((1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))


def figure(value: float | None) -> str:
    """At least three significant digits: ``126``, ``4.81``, ``0.0532``."""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals < 6 else f"{value:.2e}"


def count(value: float | None) -> str:
    """A whole number with thousands separators: ``1,200,000``."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """At most three significant digits, with an SI prefix: ``1.51 M``, ``20 k``, ``0.5``."""
    if value is None:
        return NOTHING
    rounded = float(f"{value:.3g}")  # 999,900 is 1 M
    size, unit = next(((size, unit) for size, unit in _SHORT if abs(rounded) >= size), (1.0, ""))
    return f"{value / size:.3g}{unit}"


def duration(seconds: float | None) -> str:
    """A time in a suitable unit: ``3.8 s``, ``12.5 min``, ``3.2 h``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def listed(words: Sequence[str], conjunction: str = "and") -> str:
    """Words in a sentence: ``a, b and c``."""
    return f" {conjunction} ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
