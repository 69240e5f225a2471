"""Scores as a table: which way each is better, the floor beside it, and the protocol below."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table

    Record = Mapping[str, Any]

ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}


def show_scores(records: Sequence[Record], compared: Sequence[float | None] | None, against: str) -> None:
    """Print scores.

    Args:
        records: As in scores.jsonl.
        compared: For each the value to compare it with, or None; None where nothing is compared.
        against: Where those are from.
    """
    from rich.console import Console

    from ganzoo.evaluation.protocol import describe

    console = Console()
    console.print(_table(records, compared))
    if compared is not None:
        console.print(f"against: {against}", markup=False, highlight=False, soft_wrap=True)
    for sentence in _warnings(records):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    protocols: dict[str, list[str]] = {}
    for record in records:
        named = protocols.setdefault(describe(record["protocol"]), [])
        if record["metric"] not in named:
            named.append(record["metric"])
    for told, metrics in protocols.items():
        console.print(f"{', '.join(metrics)}: {told}", markup=False, highlight=False, soft_wrap=True)


def _table(records: Sequence[Record], compared: Sequence[float | None] | None) -> Table:
    from rich.table import Table

    table = Table()
    headings = ["metric", "better", "value", "real-vs-real floor", "weights", "n"]
    for heading in headings + (["against"] if compared is not None else []):
        table.add_column(heading, justify="left" if heading in ("metric", "weights") else "right")
    for index, record in enumerate(records):
        other = compared[index] if compared is not None else None
        table.add_row(*_cells(record), *([] if compared is None else ["-" if other is None else f"{other:.4g}"]))
    return table


def _cells(record: Record) -> list[str]:
    from ganzoo.evaluation.metrics import METRICS

    value = f"{record['value']:.4g}"
    if "interval" in record:
        low, high = record["interval"]
        value += f" ({low:.4g} to {high:.4g})"
    better = ARROWS[METRICS[record["protocol"]["metric"]].better]
    n = f"{record['protocol']['n_fake']:,}"
    return [record["metric"], better, value, f"{record['floor']:.4g}", record["weights"] or "-", n]


def _warnings(records: Sequence[Record]) -> list[str]:
    from ganzoo.evaluation.memorisation import copies

    found = []
    for record in records:
        protocol = record["protocol"]
        if protocol["metric"] == "memorisation" and copies(
            record["value"], record["floor"], protocol["n_fake"], protocol["n_floor"]
        ):
            found.append(
                f"Training images are copied: {record['value']:.1%} of the samples are suspiciously close to one, "
                f"and {record['floor']:.1%} of real images that were never trained on."
            )
    return found
