"""Writes results/rivals.md and .svg: GANs beside flow matching, DDPM, VAE and VQ-VAE, at equal time.

    python benchmarks/rivals_page.py

reads the records of the studies that benchmarks/rivals.py wrote, and the times of results/costs.json. What has no
records yet is left out, and so is advice while rows have fewer than three seeds.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from ganzoo.files import MADE, write_atomically
from ganzoo.formatting import figure, listed
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo_reports.plots import MARKERS, SERIES, drawing, logarithmic
from ganzoo_reports.templates import markdown_table
from ganzoo_studies.cells import CellFound
from ganzoo_studies.findings import Found, find
from ganzoo_studies.records import Ledger
from ganzoo_studies.study import BASELINE, load_study
from rivals import CONTESTS

RESULTS = Path(__file__).resolve().parent.parent / "results"
PAGE, PLOT, COSTS = RESULTS / "rivals.md", RESULTS / "rivals.svg", RESULTS / "costs.json"
LEAST = 3
"""Seeds of every row before any row is recommended."""
INTRODUCTION = """# GANs and their rivals at equal time

Made by `python benchmarks/rivals_page.py`. Each row was trained for as many images as one core sees in its minutes. FID
is the geometric mean over the views of the world and the seeds; the other scores are means. Milliseconds are of one
28x28 picture at a time, in torch on one core of {hardware}, by `python benchmarks/costs.py`.
"""


@dataclass(frozen=True)
class Row:
    """A row of a study at one length."""

    name: str
    minutes: int
    fid: float  # geometric mean, over the views and the seeds
    shares: dict[str, float]  # recall, coverage and memorisation
    milliseconds: float | None  # a sample
    parameters: int
    seeds: int


def read(name: str, costs: dict[str, Any], zoo: Zoo) -> tuple[Found, list[Row]]:
    """A study, and its rows that have a score, by length and from the best to the worst."""
    found = find(load_study(name, zoo), Ledger(RESULTS / "studies"), zoo)
    rows = [row for cell in found.cells if (row := _row(cell, found, costs, zoo)) is not None]
    return found, sorted(rows, key=lambda row: (row.minutes, row.fid))


def _row(cell: CellFound, found: Found, costs: dict[str, Any], zoo: Zoo) -> Row | None:
    values = {one.metric: cell.values(one, zoo) for one in found.study.measures}
    views = [one.mean_log for metric, one in values.items() if metric.startswith("fid@")]
    known = [one for one in views if one is not None]
    if not known or len(known) < len(views):
        return None
    (first, *_) = cell.runs.values()
    cost = costs["recipes"].get(first.record.recipe) if first.record.dataset == "mnist" else None  # measured on digits
    means = {metric.partition("@")[0]: one.mean for metric, one in values.items() if not metric.startswith("fid@")}
    return Row(
        "dcgan" if cell.row == BASELINE else cell.row,
        int(cell.setting.split()[0]),
        math.exp(fmean(known)),
        {name: mean for name, mean in means.items() if mean is not None},
        1000 * cost["torch"] if cost else None,
        first.record.parameters["generator"],
        min(len(one.known) for metric, one in values.items() if metric.startswith("fid@")),
    )


def advice(rows: Sequence[Row]) -> list[str]:
    """In words, which row to take when; nothing before all rows have enough seeds."""
    lengths = sorted({row.minutes for row in rows})
    if not rows or min(row.seeds for row in rows) < LEAST:
        return []
    longest = [row for row in rows if row.minutes == lengths[-1]]
    said = []
    for minutes in lengths:
        best, second, *_ = sorted((row for row in rows if row.minutes == minutes), key=lambda row: row.fid)
        said.append(
            f"**Closest to real images after {minutes} minutes:** {best.name}, FID {figure(best.fid)}; then "
            f"{second.name}, {figure(second.fid)}."
        )
    widest = max(longest, key=lambda row: row.shares["recall"])
    said.append(f"**Most varied after {lengths[-1]} minutes:** {widest.name}, recall {widest.shares['recall']:.2f}.")
    if all(row.milliseconds is not None for row in longest):
        fastest, *_, slowest = sorted(longest, key=lambda row: row.milliseconds or 0)
        said.append(
            f"**Fastest to sample:** {fastest.name}, {fastest.milliseconds:.1f} ms a picture; {slowest.name} takes "
            f"{slowest.milliseconds:.1f} ms."
        )
    return said


def table(rows: Sequence[Row]) -> str:
    """The rows in Markdown."""
    shares = list(dict.fromkeys(name for row in rows for name in row.shares))
    headings = ("row", "minutes", "FID", *shares, "ms a sample", "parameters", "seeds")
    lines = [
        [
            row.name,
            str(row.minutes),
            figure(row.fid),
            *(f"{row.shares[name]:.3f}" if name in row.shares else "" for name in shares),
            "" if row.milliseconds is None else f"{row.milliseconds:.1f}",
            f"{row.parameters:,}",
            str(row.seeds),
        ]
        for row in rows
    ]
    return markdown_table({heading: "right" if k else "left" for k, heading in enumerate(headings)}, lines)


def plot(rows: Sequence[Row], path: Path) -> None:
    """Quality against minutes of training, and after the longest against milliseconds a sample."""
    names = list(dict.fromkeys(row.name for row in rows))
    longest = max(row.minutes for row in rows)
    with drawing(8.4, 3.9) as (canvas, left):
        left.remove()
        left, right = canvas.subplots(1, 2, sharey=True)
        for number, name in enumerate(names):
            style = {"color": SERIES[number % len(SERIES)], "marker": MARKERS[number % len(MARKERS)], "markersize": 5}
            some = [row for row in rows if row.name == name]
            left.plot([row.minutes for row in some], [row.fid for row in some], linewidth=1.2, label=name, **style)
            for row in some:
                if row.minutes == longest and row.milliseconds is not None:
                    right.plot(row.milliseconds, row.fid, linestyle="", **style)
        for axes, label in ((left, "minutes of training on one core"), (right, "milliseconds a sample")):
            logarithmic(axes, "x")
            axes.set_xlabel(label)
        left.set_xticks(sorted({row.minutes for row in rows}))
        logarithmic(left, "y")
        left.set_ylabel("FID (lower is better)")
        canvas.legend(loc="outside upper center", ncols=5)
        canvas.savefig(path, format="svg", facecolor="white", metadata={"Creator": MADE, "Date": None})


def main() -> None:
    """Write the page, and the plot of the first study, which has several lengths."""
    zoo, costs = load_zoo(), json.loads(COSTS.read_text("utf-8"))
    hardware = costs["environment"]["cpu"]
    parts = [INTRODUCTION.format(hardware=hardware)]
    for name in CONTESTS:
        found, rows = read(name, costs, zoo)
        if not rows:
            continue
        parts.append(f"## {found.study.question}\n")
        if len({row.minutes for row in rows}) > 1:
            plot(rows, PLOT)
            parts.append(f"![FID against minutes of training, and against milliseconds a sample]({PLOT.name})\n")
        parts += ["\n".join(f"- {sentence}" for sentence in said) + "\n" for said in [advice(rows)] if said]
        parts.append(f"{table(rows)}\n")
        trained = listed(sorted({run.record.hardware for run in found.runs}))
        parts.append(f"Trained on {trained}. Claims and their intervals: [{name}](studies/{name}.html).\n")
    write_atomically(PAGE, ("\n".join(parts).rstrip() + "\n").encode())


if __name__ == "__main__":
    main()
