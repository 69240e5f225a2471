"""What is printed with rich: its console behind the door to the terminal, and scores as a table.

Apart from ``terminal.py``, because rich takes a moment to import.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import rich.console
from rich.box import SIMPLE_HEAD
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from ganzoo.errors import visible
from ganzoo.evaluation.metrics import better, copies
from ganzoo.evaluation.protocol import describe, excess

Record = dict[str, Any]


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


ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}
SCORE_HEADINGS = ("value", "95%", "real vs\nreal", "above\nreal")


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print scores as a table: which way each is better, what real images score beside it, and the protocol below.

    Args:
        records: As in scores.jsonl.
        compared: For each the value to compare it with, or None; None where nothing is compared.
        against: Where those are from.
    """
    has_weights = any(record["weights"] for record in records)
    table = Table(box=SIMPLE_HEAD, collapse_padding=True, pad_edge=False)
    table.add_column("metric", no_wrap=True)
    if has_weights:
        table.add_column("weights")
    for heading in (*SCORE_HEADINGS, *([] if compared is None else ["against"])):
        table.add_column(heading, justify="right")
    for index, record in enumerate(records):
        cells = [arrowed(record), *([record["weights"] or "-"] if has_weights else []), *score_cells(record)]
        table.add_row(*cells, *([] if compared is None else [_number(compared[index])]))
    console = Console()
    console.print(table)
    if compared is not None:
        console.print(f"against: {against}", soft_wrap=True)
    named: dict[str, dict[str, None]] = {}
    for record in records:
        protocol, value, floor = record["protocol"], record["value"], record["floor"]
        if protocol["metric"] == "memorisation" and copies(value, floor, protocol["n_fake"], protocol["n_floor"]):
            console.print(
                f"Training images are copied: {value:.1%} of the samples are suspiciously close to one, against "
                f"{floor:.1%} of real images that were never trained on.",
                soft_wrap=True,
            )
        named.setdefault(describe(protocol), {})[record["metric"]] = None
    for how, metrics in named.items():  # metrics of one protocol share a line
        who = ", ".join(metrics) if len(named) > 1 or len(metrics) < 4 else "All"
        console.print(f"{who}: {how}", soft_wrap=True)


def arrowed(record: Record) -> str:
    """A score's metric, and which way it is better: ``fid@mnist-cnn ↓``."""
    return f"{record['metric']} {ARROWS[better(record['metric'].partition('@')[0])]}"


def score_cells(record: Record) -> list[str]:
    """A score beside its interval and that of real images, without spaces, so that narrow terminals cut none."""
    ends = "\N{EN DASH}".join(f"{end:.3g}" for end in record["interval"]) if record.get("interval") else "-"
    above = excess(record["value"], record.get("floor"), record.get("sd")).replace(" ", "")
    return [_number(record["value"]), ends, _number(record.get("floor")), above]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
