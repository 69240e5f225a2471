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


STEPS = ("training", "engine", "precision", "images/s", "quartiles", "GFLOP/s", "of the fastest matmul")
SCORES = ("after short training", "score", "mean", "sd", "real vs real", "seeds", "images", "seconds")
PEERS = ("against", "recipe", "ours in", "images/s", "theirs", "times the images/s", "times the FLOP/s")
OTHERS = ("other", "images/s", "quartiles")


def summary(benchmarks: Iterable[tuple[Facts, Times]]) -> list[str]:
    """Lines of up to four tables; tables without rows are left out.

    Args:
        benchmarks: The ``extra_info`` of each, and its times.
    """
    rows: dict[tuple[str, ...], list[tuple[str, ...]]] = {STEPS: [], SCORES: [], PEERS: [], OTHERS: []}
    for facts, times in benchmarks:
        if "share_of_gemm_peak" in facts:
            work = facts["images"] / times.median * facts["flops_per_image"] / 1e9
            of_peak = f"{work:,.0f}", f"{facts['share_of_gemm_peak']:.0%}"
            training = facts["recipe"], facts["engine"], facts["precision"]
            rows[STEPS].append((*training, *_rates(facts, times), *of_peak))
        if "scores" in facts:
            length = str(len(facts["seeds"])), f"{facts['images']:,}", f"{times.median:.1f}"
            for metric, values in facts["scores"].items():
                sd = stdev(values) if len(values) > 1 else 0.0
                scores = f"{fmean(values):.2f}", f"{sd:.2f}", f"{facts['floors'][metric]:.2f}"
                rows[SCORES].append((facts["recipe"], metric, *scores, *length))
        if "peer" in facts:
            rates = f"{facts['images'] / times.median:,.0f}", f"{facts['peer_images_per_second']:,.0f}"
            ratios = f"{facts['ratio']:.2f}", f"{facts['flops_ratio']:.2f}"
            rows[PEERS].append((facts["peer"], facts["recipe"], facts["ours"]["precision"], *rates, *ratios))
        if "what" in facts:
            rows[OTHERS].append((facts["what"], *_rates(facts, times)))
    return [line for headings, cells in rows.items() for line in _table(headings, cells)]


def _rates(facts: Facts, times: Times) -> tuple[str, str]:
    rates = throughput(facts["images"], times)
    low, high = rates["images_per_second_low"], rates["images_per_second_high"]
    return f"{rates['images_per_second']:,.0f}", f"{low:,.0f} to {high:,.0f}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table's lines, the first column left-aligned, the others right-aligned, and an empty line after them."""
    if not rows:
        return []
    widths = [max(map(len, column)) for column in zip(headings, *rows, strict=True)]
    lines = []
    for first, *others in (headings, *rows):
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip())
    return [*lines, ""]
