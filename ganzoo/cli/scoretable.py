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

    console = Console()
    console.print(_table(records, compared))
    if compared is not None:
        console.print(f"against: {against}", markup=False, highlight=False, soft_wrap=True)
    for sentence in _warnings(records):
        console.print(sentence, markup=False, highlight=False, soft_wrap=True)
    for line in _protocols(records):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _protocols(records: Sequence[Record]) -> list[str]:
    """What was measured how; metrics of one protocol share a line."""
    from ganzoo.evaluation.protocol import describe

    named: dict[str, dict[str, None]] = {}
    for record in records:
        named.setdefault(describe(record["protocol"]), {})[record["metric"]] = None
    return [
        f"{', '.join(metrics) if len(named) > 1 or len(metrics) < 4 else 'All'}: {told}"
        for told, metrics in named.items()
    ]


def _table(records: Sequence[Record], compared: Sequence[float | None] | None) -> Table:
    from rich.table import Table

    has_weights = any(record["weights"] for record in records)
    table = Table()
    table.add_column("metric", no_wrap=True)
    for heading in ("better", "value", "real-vs-real floor"):
        table.add_column(heading, justify="right")
    if has_weights:
        table.add_column("weights")
    table.add_column("n", justify="right")
    if compared is not None:
        table.add_column("against", justify="right")
    for index, record in enumerate(records):
        cells = _cells(record, has_weights)
        if compared is not None:
            cells.append(_number(compared[index]))
        table.add_row(*cells)
    return table


def _cells(record: Record, has_weights: bool) -> list[str]:
    from ganzoo.evaluation.metrics import METRICS

    value, protocol = _number(record["value"]), record["protocol"]
    if "interval" in record:
        value += " ({} to {})".format(*map(_number, record["interval"]))
    cells = [record["metric"], ARROWS[METRICS[protocol["metric"]].better], value, _number(record["floor"])]
    return [*cells, *([record["weights"] or "-"] if has_weights else []), f"{protocol['n_fake']:,}"]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"


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
