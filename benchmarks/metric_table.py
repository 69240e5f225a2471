"""The scores of every metric for sets of images whose quality is obvious.

    python benchmarks/metric_table.py

writes results/metrics-table.json and the table in docs/metrics.md. No generator is trained: the sets are made from
MNIST itself, so the outcome is the same everywhere up to rounding.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from ganzoo import Dataset
from ganzoo.evaluation.evaluator import REAL_SEED, Evaluator
from ganzoo.evaluation.requests import better
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment
from ganzoo_reports.templates import between_markers, markdown_table

ROOT = Path(__file__).resolve().parent.parent
OUTCOME = ROOT / "results" / "metrics-table.json"
PAGE = ROOT / "docs" / "metrics.md"
MARKERS = "<!-- table: begin -->", "<!-- table: end -->"
N = 10_000
LIKE_COVERAGE = ("modes", "class-entropy")  # on digits they say what class-coverage and kl say: left out of the table
ARROWS = {"lower": "↓", "higher": "↑", "neither": "="}

Labelled = tuple[Tensor, Tensor]


def sets(train: Dataset, test: Dataset) -> dict[str, Labelled]:
    """Images and labels, in order from what a person would call best to worst."""
    assert train.labels is not None
    assert test.labels is not None
    # Real vs real uses the first N of this order.
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(REAL_SEED))
    others, few = order[N : 2 * N], torch.arange(N) % (N // 10)
    noise = torch.randint(0, 256, (N, *test.shape), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    blurred = gaussian_blur(test.images, kernel_size=[7, 7], sigma=[1.0, 1.0])
    return {
        "train images": (train.images[others], train.labels[others]),
        "1,000 train images, ten times each": (train.images[few], train.labels[few]),
        "blurred test images": (blurred, test.labels),
        "one digit, repeated": (train.images[:1].expand(N, -1, -1, -1), train.labels[:1].expand(N)),
        "uniform noise": (noise, torch.arange(N) % len(test.classes)),
    }


def measure() -> dict[str, Any]:
    """Score every set by every metric."""
    zoo, device = load_zoo(), resolve_device("auto")
    entry = zoo.datasets.get("mnist")
    evaluator = Evaluator(["all@mnist-cnn"], entry, {}, None, zoo, device)
    rows: dict[str, Any] = {}
    for name, (images, labels) in sets(entry.create("train", None), entry.create("test", None)).items():
        scores = [one.record() for one in evaluator.score(images, labels=labels)]
        rows[name] = {score["protocol"]["metric"]: score for score in scores}
        print(f"{name}: {len(scores)} metrics")
    return {"command": "python benchmarks/metric_table.py", "environment": environment(device), "sets": rows}


def table(outcome: dict[str, Any]) -> str:
    """The outcome in Markdown: a row for each metric, a column for each set."""
    scores = outcome["sets"]
    headings = {"metric": "left", "better": "left", **dict.fromkeys(("real vs real", *scores), "right")}
    rows = [
        [name, ARROWS[better(name)], written(first["floor"]), *(written(of[name]["value"]) for of in scores.values())]
        for name, first in next(iter(scores.values())).items()
        if name not in LIKE_COVERAGE
    ]
    return markdown_table(headings, rows)


def written(value: float) -> str:
    """Three significant digits; below 0.001, five decimals instead of an exponent."""
    return f"{value:.5f}" if 0 < abs(value) < 0.001 else f"{value:.3g}"


def main() -> None:
    """Measure, or with --page write the page from the last outcome."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--page", action="store_true", help="only write docs/metrics.md, from the last outcome")
    if not parser.parse_args().page:
        OUTCOME.parent.mkdir(exist_ok=True)
        write_atomically(OUTCOME, (json.dumps(measure(), indent=1, ensure_ascii=False) + "\n").encode())
    made = table(json.loads(OUTCOME.read_text(encoding="utf-8")))
    write_atomically(PAGE, between_markers(PAGE.read_text(encoding="utf-8"), MARKERS, made, str(PAGE)).encode())


if __name__ == "__main__":
    main()
