"""Numbers as people read them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

NOTHING = "–"

_SHORT = ((1e18, " E"), (1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k"))
_MARKDOWN = re.compile(r"([\\`*_\[\]#|~$])")


def figure(value: float | None) -> str:
    """Three digits that count: ``126``, ``4.81``, ``0.0532``."""
    if value is None:
        return NOTHING
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    decimals = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{decimals}f}" if decimals < 6 else f"{value:.2e}"


def count(value: float | None) -> str:
    """A whole number with its thousands: ``1,200,000``."""
    return NOTHING if value is None else f"{value:,.0f}"


def short(value: float | None) -> str:
    """A number in three digits at most, with its unit: ``1.51 M``, ``20 k``, ``0.5``."""
    if value is None:
        return NOTHING
    size, unit = next(((size, unit) for size, unit in _SHORT if abs(value) >= size), (1.0, ""))
    return f"{value / size:.3g}{unit}"


def duration(seconds: float | None) -> str:
    """A time in its natural unit: ``3.8 s``, ``12.5 min``, ``3.2 h``."""
    if seconds is None:
        return NOTHING
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.1f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def markdown(text: Any) -> str:
    """Text that Markdown and the HTML in it leave as it is, on one line."""
    plain = " ".join(str(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    # A word such as https://… would become a link by itself.
    return _MARKDOWN.sub(r"\\\1", plain).replace("://", ":&#47;&#47;").replace("www.", "www&#46;")


def code(text: str) -> str:
    """Text as code in Markdown, whatever backticks it holds, on one line."""
    plain = " ".join(text.split())
    longest = max((len(run) for run in re.findall("`+", plain)), default=0)
    fence = "`" * (longest + 1)
    return f"{fence} {plain} {fence}" if longest else f"{fence}{plain}{fence}"


FILTERS: Mapping[str, Callable[[Any], str]] = {
    "figure": figure,
    "count": count,
    "short": short,
    "duration": duration,
}
"""For the templates."""
