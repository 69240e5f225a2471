"""What a suite found, for the person who ran it: throughput, scores, and the others beside us."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Facts = Mapping[str, Any]


def summary(benchmarks: Iterable[Facts]) -> list[str]:
    """Lines of three tables, of what each benchmark noted beside its times; a table without rows is left out.

    Args:
        benchmarks: The ``extra_info`` of each.
    """
    found = list(benchmarks)
    return [
        *_table(STEPS, [_step(one) for one in found if "share_of_gemm_peak" in one]),
        *_table(SCORES, [_score(one) for one in found if "score" in one]),
        *_table(PEERS, [_peer(one) for one in found if "peer" in one]),
    ]


STEPS = ("training", "engine", "precision", "images/s", "GFLOP/s", "of the largest matrix product's")
SCORES = ("after a short training", "score", "value", "real-vs-real", "images", "seconds")
PEERS = ("against", "recipe", "precision", "images/s", "theirs", "times the images/s", "times the FLOP/s")


def _step(one: Facts) -> tuple[str, ...]:
    rate = one["images_per_second"]
    work = f"{rate * one['flops_per_image'] / 1e9:,.0f}"
    return one["recipe"], one["engine"], one["precision"], f"{rate:,.0f}", work, f"{one['share_of_gemm_peak']:.0%}"


def _score(one: Facts) -> tuple[str, ...]:
    training = f"{one['training_images']:,}", f"{one['training_seconds']:.1f}"
    return one["recipe"], one["metric"], f"{one['score']:.2f}", f"{one['floor']:.2f}", *training


def _peer(one: Facts) -> tuple[str, ...]:
    rates = f"{one['images_per_second']:,.0f}", f"{one['peer_images_per_second']:,.0f}"
    return (
        one["peer"],
        one["recipe"],
        one["ours"]["precision"],
        *rates,
        f"{one['ratio']:.2f}",
        f"{one['flops_ratio']:.2f}",
    )


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column from the left, the others from the right, and an empty line behind."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    return [
        *("  ".join(_fitted(cells, widths)).rstrip() for cells in (headings, *rows)),
        "",
    ]


def _fitted(cells: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
    ]
