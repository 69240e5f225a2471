"""Which faults a view of images sees: real images with increasing faults, scored alongside untouched ones.

    python benchmarks/ruler.py --dataset mnist

writes results/ruler/mnist.json, its plot, its page, and verdicts in docs/metrics.md; with ``--page``, not the first.
``--view METRIC@EXTRACTOR``, which may be repeated, measures only those views and keeps the file's others; ``--fault
NAME`` does the same for faults. The reference is the 10,000 validation images, because views are chosen with this
battery of faults; ``--reference test`` writes results/ruler/mnist-test.json, whose verdicts are on the page.

A cell is one fault at one strength: 10,000 training images with that fault, scored against the reference. Its excess
over the score of the same images untouched, in which the luck of the draw cancels out, is given in standard deviations
of real vs real: the scores of 10,000 random untouched training images. None of these is a validation image.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from torch import Tensor

from ganzoo import Dataset, Extractor, MetricInputs
from ganzoo.api.metric import Features
from ganzoo.errors import GanzooError, unknown
from ganzoo.evaluation.features import RealImages, extract
from ganzoo.evaluation.intervals import DistanceTo
from ganzoo.evaluation.requests import find_extractor
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment
from ganzoo_reports.templates import between_markers
from image_faults import FAULTS, INVISIBLE

RESULTS = Path(__file__).resolve().parent.parent / "results" / "ruler"
PAGE = RESULTS.parent.parent / "docs" / "metrics.md"
N = 10_000
DRAWS, NEIGHBOUR_DRAWS = 30, 6
"""Draws of real vs real; fewer for metrics that search for neighbours, which take seconds per draw."""
SEED = 1
VISIBLE_FROM, INVISIBLE_BELOW = 5.0, 2.0
"""Thresholds in standard deviations: for a visible fault at its second strength, and for an invisible change."""
CPU = torch.device("cpu")
UNWHITENED = "-unwhitened"


def default_views(dataset: str) -> list[str]:
    """The headline's two distances, those they are compared with, and coverage and recall in the autoencoder."""
    fids = [f"fid@{dataset}-ae", f"fid@{dataset}-cnn", f"fid@{dataset}-ae{UNWHITENED}", "fid@pixels"]
    return [*fids, f"coverage@{dataset}-ae", f"recall@{dataset}-ae"]


class Pixels(Extractor):
    """64 principal components of the pixels of given images: the simplest view, for comparison."""

    shape = (1, 28, 28)
    width = 64
    digest = "principal components"

    def __init__(self, images: Tensor) -> None:
        super().__init__()
        flat = images.flatten(1).double() / 255
        self._directions = torch.linalg.eigh(flat.T.cov())[1][:, -self.width :].float()

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Components (n, 64)."""
        return (images.flatten(1).float() / 255) @ self._directions, None


def cells(pool: Dataset, names: Sequence[str]) -> Iterator[tuple[str, str, float, Tensor]]:
    """Each of these faults' name, its unit, a strength, and the spoiled images, uint8 (N, 1, h, w)."""
    assert pool.labels is not None
    for fault in (fault for fault in (*FAULTS, *INVISIBLE) if fault.name in names):
        for strength in fault.strengths:
            yield fault.name, fault.unit, strength, fault.apply(pool.images, pool.labels, N, strength, SEED)


def measure(
    dataset: str, reference: str, views: list[str], faults: Sequence[str], known: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Every view of every cell of these faults.

    Args:
        dataset: A dataset's name.
        reference: ``test`` or ``validation``.
        views: ``<metric>@<extractor>``; metrics that search for neighbours are measured only on faults of the set as a
            whole.
        faults: Names of faults.
        known: The views' real vs real, if it was measured before.

    Raises:
        GanzooError: An extractor is not the one that ``known`` was measured with.
    """
    zoo = load_zoo()
    entry = zoo.datasets.get(dataset)
    train = entry.create("train", None)
    held_out = train.held_out(N)
    fitted, validation = train.rows(~held_out), train.rows(held_out)
    order = torch.randperm(len(fitted), generator=torch.Generator().manual_seed(0))
    pool = Dataset(dataset, "train", fitted.images[order], fitted.labels[order], fitted.classes)
    real = validation if reference == "validation" else entry.create("test", None)

    names = list(dict.fromkeys(map(extractor_name, views)))
    extractors = {n: Pixels(fitted.images) if n == "pixels" else find_extractor(n, zoo) for n in names}
    scores = {view: scorer(view, real, extractors, zoo) for view in views}

    measured: dict[str, Any] = dict(known or {})
    for view in measured:
        if measured[view]["digest"] != extractors[extractor_name(view)].digest:
            raise GanzooError(f"The extractor of {view} has changed.", "Leave out --fault.")
    whole = {} if known else {name: extract(name, one, pool.images, CPU) for name, one in extractors.items()}
    for view in () if known else views:
        features, score = seen(view, whole), scores[view]
        generator = torch.Generator().manual_seed(SEED)
        draws = DRAWS if view.startswith("fid@") else NEIGHBOUR_DRAWS
        drawn = [score(features[torch.randperm(len(pool), generator=generator)[:N]]) for _ in range(draws)]
        # Draws share images: the smaller the pool, the less they differ.
        sd = float(np.std(drawn, ddof=1)) / (1 - N / len(pool)) ** 0.5
        measured[view] = {
            "digest": extractors[extractor_name(view)].digest,
            "real": float(np.mean(drawn)),
            "sd": sd,
            "draws": draws,
            "untouched": score(features[torch.arange(N)]),
        }
        print(f"{view}: real vs real {measured[view]['real']:.5g}, sd {sd:.2g}", flush=True)

    rows = []
    of_sets = {fault.name for fault in FAULTS if fault.choose is not None}
    for name, unit, strength, images in cells(pool, faults):
        features = {key: extract(key, one, images, CPU) for key, one in extractors.items()}
        row: dict[str, Any] = {"fault": name, "unit": unit, "strength": strength, "views": {}}
        for view in views:
            if view.startswith("fid@") or name in of_sets:
                value = scores[view](seen(view, features))
                excess = value - measured[view]["untouched"]
                row["views"][view] = {"value": value, "excess": excess, "sds": excess / measured[view]["sd"]}
        rows.append(row)
        costs = [f"{view} {cell['sds']:.1f}" for view, cell in row["views"].items()]
        print(f"{name} {strength:g}:", *costs, flush=True)
    command = f"python benchmarks/ruler.py --dataset {dataset}{' --reference test' if reference == 'test' else ''}"
    head = {"command": command, "dataset": dataset, "reference": reference, "n": N, "environment": environment(CPU)}
    return {**head, "views": measured, "cells": rows}


def refuse_other(known: dict[str, Any], dataset: str, reference: str, path: Path) -> None:
    """Check, before measuring, that new views can be added to a file.

    Raises:
        GanzooError: The file's outcome is for another dataset, reference or count, or for other faults.
    """
    if (known["dataset"], known["reference"], known["n"]) != (dataset, reference, N):
        raise GanzooError(f"{path} is for another dataset, reference or count.", "Name another file with --out.")
    if [(cell["fault"], cell["strength"]) for cell in known["cells"]] != [
        (fault.name, strength) for fault in (*FAULTS, *INVISIBLE) for strength in fault.strengths
    ]:
        raise GanzooError(f"{path} is for other faults.", "Leave out --view and --fault, which measures all again.")


def with_faults(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The old outcome with the new one's cells, which record where they were measured."""
    measured = {(cell["fault"], cell["strength"]): {**cell, "environment": new["environment"]} for cell in new["cells"]}
    return {**old, "cells": [measured.get((cell["fault"], cell["strength"]), cell) for cell in old["cells"]]}


def merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """The views of both outcomes, with the new one if both have it; the cells have the same images.

    Views that are kept record where they were measured; the outcome's own ``environment`` is that of the new ones.
    """
    kept = {view: {"environment": old["environment"], **numbers} for view, numbers in old["views"].items()}
    views = {**kept, **new["views"]}
    order = [*(view for view in default_views(new["dataset"]) if view in views), *views]
    cells = [
        {**cell, "views": {**before["views"], **cell["views"]}}
        for before, cell in zip(old["cells"], new["cells"], strict=True)
    ]
    return {**new, "views": {view: views[view] for view in dict.fromkeys(order)}, "cells": cells}


def seen(view: str, features: dict[str, Features]) -> Features:
    """Features of a view's extractor, without their projection if its name ends in ``UNWHITENED``."""
    extracted = features[extractor_name(view)]
    return Features(extracted.values, extracted.logits) if view.endswith(UNWHITENED) else extracted


def extractor_name(view: str) -> str:
    """The name of a view's extractor."""
    return view.partition("@")[2].removesuffix(UNWHITENED)


def scorer(view: str, real: Dataset, extractors: dict[str, Extractor], zoo: Zoo) -> Callable[[Features], float]:
    """A function that scores features by a view, against real images."""
    metric, name = view.partition("@")[0], extractor_name(view)
    extractor = extractors[name]
    if metric == "fid":  # the same value as the metric's, a hundred times faster for many sets
        distance = DistanceTo(seen(view, {name: extract(name, extractor, real.images, CPU)}).statistics)
        return lambda fake: distance(*(torch.from_numpy(fake.statistics[name]) for name in ("mu", "sigma")))
    reference, made = RealImages(real, {}, name, extractor, CPU), zoo.metrics.get(metric).create()
    return lambda fake: made.compute(MetricInputs(len(fake), lambda: fake, None, reference, lambda: reference))


def by_fault(outcome: dict[str, Any], view: str) -> dict[str, list[dict[str, float]]]:
    """A view's cells by fault, the weakest strength first, without faults on which it was not measured."""
    rows: dict[str, list[dict[str, float]]] = {}
    for cell in outcome["cells"]:
        if view in cell["views"]:
            rows.setdefault(cell["fault"], []).append({"strength": cell["strength"], **cell["views"][view]})
    return rows


def verdict(outcome: dict[str, Any], view: str) -> dict[str, Any]:
    """Whether a view is a good ruler.

    Returns:
        ``falling``: visible faults whose cost does not rise with every strength, starting from 0 without the fault;
        ``blind``: visible faults whose second strength costs no more than ``VISIBLE_FROM`` standard deviations;
        ``seen``: invisible changes that cost ``INVISIBLE_BELOW`` or more; ``faults``: number of visible faults.
    """
    rows = by_fault(outcome, view)
    sign = -1 if view.partition("@")[0] in ("coverage", "recall", "precision", "density") else 1
    costs = {fault: [sign * cell["sds"] for cell in line] for fault, line in rows.items()}
    visible = {fault: line for fault, line in costs.items() if len(line) > 1}
    return {
        "faults": len(visible),
        "falling": [fault for fault, line in visible.items() if min(np.diff([0, *line])) <= 0],
        "blind": [fault for fault, line in visible.items() if line[1] <= VISIBLE_FROM],
        "seen": [fault for fault, line in costs.items() if len(line) == 1 and abs(line[0]) >= INVISIBLE_BELOW],
    }


def table(outcome: dict[str, Any]) -> str:
    """In Markdown: the first view at all strengths, the others at the second one, in sd of real vs real."""
    headline, *others = outcome["views"]
    lines = [
        f"| fault | strengths | `{headline}` at each | " + " | ".join(f"`{view}`" for view in others) + " |",
        "| --- | --- | --- |" + " ---: |" * len(others),
        "| real vs real | | "
        + " | ".join(f"{one['real']:.3g} ± {one['sd']:.2g}" for one in outcome["views"].values())
        + " |",
    ]
    sides = {view: by_fault(outcome, view) for view in others}
    units = {cell["fault"]: cell["unit"] for cell in outcome["cells"]}
    for fault, line in by_fault(outcome, headline).items():
        strengths = ", ".join(f"{cell['strength']:g}" for cell in line)
        costs = ", ".join(written(cell["sds"]) for cell in line)
        second = [written(side[fault][len(line) > 1]["sds"]) if fault in side else "" for side in sides.values()]
        lines.append(f"| {fault} | {strengths} {units[fault]} | {costs} | " + " | ".join(second) + " |")
    return "\n".join(lines)


def verdicts(outcome: dict[str, Any]) -> str:
    """In Markdown: the faults that each view is blind to."""
    lines = []
    for view in outcome["views"]:
        judged = verdict(outcome, view)
        said = [
            f"blind to {', '.join(judged['blind'])}" if judged["blind"] else "sees every fault at its second strength"
        ]
        if falling := [fault for fault in judged["falling"] if fault not in judged["blind"]]:
            said.append(f"does not get worse steadily with {', '.join(falling)}")
        if judged["seen"]:
            said.append(f"sees what is invisible: {', '.join(judged['seen'])}")
        lines.append(f"- `{view}`: {'; '.join(said)}.")
    return "\n".join(lines)


def section(dataset: str) -> str:
    """A dataset's page in results/ruler, from the committed files."""
    chosen, test = (
        json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8")) for name in (dataset, f"{dataset}-test")
    )
    about = (
        "Excess of each fault in standard deviations of real vs real: the first view at each strength, the others at "
        f"the second. Made by `{chosen['command']}`."
    )
    parts = [
        f"# Faults on {dataset}",
        about,
        table(chosen),
        verdicts(chosen),
        "Against the test images:",
        verdicts(test),
    ]
    return "\n\n".join(parts) + "\n"


def written(sds: float) -> str:
    """With one decimal if below 20, otherwise none."""
    return f"{sds:.1f}" if abs(sds) < 20 else f"{sds:,.0f}"


def plot(outcome: dict[str, Any], path: Path) -> None:
    """One small plot for each fault: the cost of each strength by each Fréchet distance."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    views = [view for view in outcome["views"] if view.startswith("fid@")]
    rows = {view: by_fault(outcome, view) for view in views}
    faults = [fault.name for fault in FAULTS]
    figure, axes = plt.subplots(4, 5, figsize=(14, 10), sharey=True)
    for axis, fault in zip(axes.flat, faults, strict=False):
        for view in views:
            axis.plot(range(1, 6), [cell["sds"] for cell in rows[view][fault]], marker="o", markersize=3, label=view)
        axis.set(title=fault, yscale="symlog", xticks=range(1, 6))
        axis.axhline(VISIBLE_FROM, color="0.7", linewidth=0.8)
    last = axes.flat[len(faults)]
    names = [fault.name for fault in INVISIBLE]
    for view in views:
        last.plot(range(1, 4), [rows[view][name][0]["sds"] for name in names], marker="o", markersize=3, label=view)
    last.set(title="invisible", yscale="symlog", xticks=range(1, 4))
    last.set_xticklabels(["noise", "below 16", "0.1 pixel"])
    last.axhspan(-INVISIBLE_BELOW, INVISIBLE_BELOW, color="0.9")
    axes[0, 0].legend(fontsize=7)
    figure.supylabel("excess, in standard deviations of real vs real")
    figure.supxlabel("strength")
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    with mpl.rc_context({"svg.hashsalt": "ganzoo"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def marks(dataset: str) -> tuple[str, str]:
    """The lines of docs/metrics.md before and after a dataset's verdicts."""
    return f"<!-- ruler {dataset}: begin -->", f"<!-- ruler {dataset}: end -->"


def main() -> None:
    """Measure, or with --page write the plot and the page from the last outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument("--reference", choices=["validation", "test"], default="validation")
    parser.add_argument("--view", action="append", help="METRIC@EXTRACTOR; by default, those of the table")
    parser.add_argument("--fault", action="append", help="a fault's name; by default, all faults")
    parser.add_argument("--out", type=Path, help="by default results/ruler/DATASET.json; if given, no page is written")
    parser.add_argument("--page", action="store_true", help="only write the plot, the page and docs/metrics.md")
    args = parser.parse_args()
    try:
        run(args)
    except GanzooError as error:
        sys.exit(str(error))


def run(args: argparse.Namespace) -> None:
    """Measure, and write the page."""
    path = args.out or RESULTS / (f"{args.dataset}{'-test' if args.reference == 'test' else ''}.json")
    if not args.page:
        names = [fault.name for fault in (*FAULTS, *INVISIBLE)]
        for name in args.fault or ():
            if name not in names:
                raise unknown("fault", name, names)
        if args.view and args.fault:
            raise GanzooError("--view and --fault cannot be combined.", "Give one after the other.")
        known = json.loads(path.read_text(encoding="utf-8")) if (args.view or args.fault) and path.exists() else None
        if known:
            refuse_other(known, args.dataset, args.reference, path)
        elif args.fault:
            raise GanzooError(f"{path} does not exist.", "Leave out --fault, which measures all faults.")
        if known and args.fault:
            views = list(known["views"])
            outcome = measure(args.dataset, args.reference, views, args.fault, known["views"])
            outcome = with_faults(known, outcome)
        else:
            outcome = measure(args.dataset, args.reference, args.view or default_views(args.dataset), names)
            outcome = merged(known, outcome) if known else outcome
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, (json.dumps(outcome, indent=1, ensure_ascii=False) + "\n").encode())
    elif not path.exists():
        raise GanzooError(f"{path} does not exist.", "Leave out --page, which measures and writes it.")
    outcome = json.loads(path.read_text(encoding="utf-8"))
    print(verdicts(outcome))
    if not args.out:
        plot(outcome, path.with_suffix(".svg"))
    if not args.out and all((RESULTS / f"{args.dataset}{end}.json").exists() for end in ("", "-test")):
        write_atomically(RESULTS / f"{args.dataset}.md", section(args.dataset).encode())
        chosen = json.loads((RESULTS / f"{args.dataset}.json").read_text(encoding="utf-8"))
        page = between_markers(PAGE.read_text("utf-8"), marks(args.dataset), verdicts(chosen), str(PAGE))
        write_atomically(PAGE, page.encode())


if __name__ == "__main__":
    main()
