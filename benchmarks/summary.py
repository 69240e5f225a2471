"""The results of a suite for the person who ran it: throughput, scores, and comparisons with other packages.

Every rate is the number of images in a round divided by the times in pytest-benchmark's own table, so the two tables
cannot disagree.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, stdev
from typing import Any, Protocol

Facts = Mapping[str, Any]


class Times(Protocol):
    """Seconds of a benchmark's rounds, from pytest-benchmark."""

    median: float
    q1: float
    q3: float


def throughput(images: float, times: Times) -> dict[str, float]:
    """Images per second: the median of the rounds, and the quartiles around it.

    Args:
        images: Images in one round.
        times: Times of the rounds.
    """
    return {
        "images": images,
        "images_per_second": images / times.median,
        "images_per_second_low": images / times.q3,
        "images_per_second_high": images / times.q1,
    }


def summary(benchmarks: Iterable[tuple[Facts, Times]]) -> list[str]:
    """Lines of up to four tables; tables without rows are left out.

    Args:
        benchmarks: The ``extra_info`` of each, and its times.
    """
    found = list(benchmarks)
    return [
        *_table(STEPS, [_step(one, times) for one, times in found if "share_of_gemm_peak" in one]),
        *_table(SCORES, [row for one, times in found if "scores" in one for row in _scores(one, times)]),
        *_table(PEERS, [_peer(one, times) for one, times in found if "peer" in one]),
        *_table(OTHERS, [_other(one, times) for one, times in found if "what" in one]),
    ]


STEPS = ("training", "engine", "precision", "images/s", "quartiles", "GFLOP/s", "of the fastest matmul")
SCORES = ("after short training", "score", "mean", "sd", "real vs real", "seeds", "images", "seconds")
PEERS = ("against", "recipe", "ours in", "images/s", "theirs", "times the images/s", "times the FLOP/s")
OTHERS = ("other", "images/s", "quartiles")


def _step(one: Facts, times: Times) -> tuple[str, ...]:
    rates = _rates(one, times)
    work = one["images"] / times.median * one["flops_per_image"] / 1e9
    return one["recipe"], one["engine"], one["precision"], *rates, f"{work:,.0f}", f"{one['share_of_gemm_peak']:.0%}"


def _scores(one: Facts, times: Times) -> list[tuple[str, ...]]:
    training = str(len(one["seeds"])), f"{one['images']:,}", f"{times.median:.1f}"
    rows = []
    for metric, values in one["scores"].items():
        found = f"{fmean(values):.2f}", f"{_deviation(values):.2f}", f"{one['floors'][metric]:.2f}"
        rows.append((one["recipe"], metric, *found, *training))
    return rows


def _peer(one: Facts, times: Times) -> tuple[str, ...]:
    rate, theirs = one["images"] / times.median, one["peer_images_per_second"]
    ratios = f"{one['ratio']:.2f}", f"{one['flops_ratio']:.2f}"
    return one["peer"], one["recipe"], one["ours"]["precision"], f"{rate:,.0f}", f"{theirs:,.0f}", *ratios


def _other(one: Facts, times: Times) -> tuple[str, ...]:
    return one["what"], *_rates(one, times)


def _rates(one: Facts, times: Times) -> tuple[str, str]:
    found = throughput(one["images"], times)
    low, high = found["images_per_second_low"], found["images_per_second_high"]
    return f"{found['images_per_second']:,.0f}", f"{low:,.0f} to {high:,.0f}"


def _deviation(values: Sequence[float]) -> float:
    return stdev(values) if len(values) > 1 else 0.0


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, the first column left-aligned, the others right-aligned, and an empty line after them."""
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
