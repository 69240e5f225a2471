"""rich's console behind the door to the terminal; apart from ``terminal.py``, because rich takes a moment to import."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ganzoo.errors import visible


class Console(rich.console.Console):
    """rich's, for tables and bars: it takes text as it is, without markup, and escapes what would steer a terminal.

    Args:
        stderr: Whether it prints on standard error.
        soft_wrap: Whether the terminal breaks long lines, rather than rich.
    """

    def __init__(self, *, stderr: bool = False, soft_wrap: bool = False) -> None:
        super().__init__(stderr=stderr, soft_wrap=soft_wrap, markup=False, emoji=False, highlight=False)

    def render_str(self, text: str, **options: Any) -> Text:
        """As rich's, which measures text here before it breaks or cuts it."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """As rich's; it goes through here whatever is printed, whether a table's cell or a bar."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
