"""How well do trained translations do beside rivals that are not trained? Nearest neighbours, bicubic and dilation.

    python benchmarks/translation.py [RUN]

scores what each rival makes of a dataset's test sources, unless results/translation.json has that already, and writes
results/translation.md: the rivals, and the runs of `ganzoo bench` in results/. Given the folder of a run without pairs,
it also counts which digit becomes which.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, max_pool2d, pad

import ganzoo
from ganzoo import Dataset
from ganzoo.evaluation.requests import find_extractor
from ganzoo.files import write_atomically
from ganzoo.formatting import listed
from ganzoo.registry.loading import load_zoo
from ganzoo.reproducibility import resolve_device
from ganzoo.runs.provenance import environment
from ganzoo_reports.templates import markdown_table
from ganzoo_studies.records import read_runs

RESULTS = Path(__file__).resolve().parent.parent / "results"
OUTCOME, PAGE = RESULTS / "translation.json", RESULTS / "translation.md"
DIGITS = ("fid@mnist-ae", "fid@mnist-cnn", "coverage@mnist-cnn")
PICTURES = ("fid@pictures-ae", "coverage@pictures-ae")
KEPT, DISTANCE = "kept-class@mnist-cnn", "target-distance"
MEASURES = (*DIGITS, *PICTURES, KEPT, DISTANCE)
COMMAND = "python benchmarks/translation.py"
INTRODUCTION = """# Translation beside rivals that are not trained

Made by `python benchmarks/translation.py` with torch {torch} on {cpu}. Scores are of the test sources, one
seed; real vs real in brackets. Minutes are of one core beside other programs. A nearest neighbour is the target of the
most similar training source: a real image, so its FID is hard to beat, but rarely the right one. The study
`translation` will have more seeds, and L1 without a discriminator.
"""

Rival = Callable[[Dataset, Dataset], Tensor]


def nearest(train: Dataset, test: Dataset) -> Tensor:
    """For each test source, the target of the training source with the smallest squared distance."""
    known, asked = (dataset.columns["source"].flatten(1).float() for dataset in (train, test))
    squares = known.square().sum(1)
    rows = [(squares - 2 * some @ known.T).argmin(1) for some in torch.split(asked, 500)]
    return train.images[torch.cat(rows)]


def bicubic(train: Dataset, test: Dataset) -> Tensor:
    """Sources enlarged to the size of images."""
    larger = interpolate(test.columns["source"].float(), test.shape[1:], mode="bicubic", align_corners=False)
    return larger.round().clamp(0, 255).to(torch.uint8)


def mirrored(train: Dataset, test: Dataset) -> Tensor:
    """The left half, and its mirror image on the right."""
    left = test.columns["source"][..., : test.shape[2] // 2]
    return torch.cat([left, left.flip(3)], dim=3)


def filled(train: Dataset, test: Dataset) -> Tensor:
    """Outlines whose inside is white: what a flood of black from the border does not reach, without the lines."""
    source = test.columns["source"]
    line = pad(source > 0, (1, 1, 1, 1))
    outside = torch.zeros_like(line)
    outside[..., 0, :] = outside[..., -1, :] = outside[..., :, 0] = outside[..., :, -1] = True
    for _ in range(sum(test.shape[1:]) * 2):
        wet = outside.float()
        spread = torch.maximum(max_pool2d(wet, (1, 3), 1, (0, 1)), max_pool2d(wet, (3, 1), 1, (1, 0)))
        outside = (spread > 0) & ~line | outside
    return (~outside & ~line)[..., 1:-1, 1:-1].to(torch.uint8) * 255


def dilated(train: Dataset, test: Dataset) -> Tensor:
    """Black letters on white, with strokes wider by the number of pixels that comes closest to training targets."""

    def wider(source: Tensor, pixels: int) -> Tensor:
        return (
            255
            - max_pool2d(255 - source.float(), 1 + pixels, stride=1, padding=(1 + pixels) // 2)[
                ..., : source.shape[2], : source.shape[3]
            ]
        )

    source, images = train.columns["source"][:2000], train.images[:2000].float()
    best = min(range(5), key=lambda pixels: float((wider(source, pixels) - images).abs().mean()))
    return wider(test.columns["source"], best).to(torch.uint8)


def unchanged(train: Dataset, test: Dataset) -> Tensor:
    """The source itself."""
    return test.columns["source"]


RIVALS: dict[str, dict[str, Rival]] = {
    "edges-to-digits": {"filled outlines": filled, "nearest neighbour": nearest},
    "half-to-whole": {"mirrored half": mirrored, "nearest neighbour": nearest},
    "small-to-large": {"bicubic": bicubic, "nearest neighbour": nearest},
    "regular-to-bold": {"dilation": dilated, "nearest neighbour": nearest, "source": unchanged},
    "sans-to-serif": {"nearest neighbour": nearest, "source": unchanged},
    "printed-to-handwritten": {"source": unchanged},
}


def scores_of(images: Tensor, name: str, test: Dataset) -> dict[str, Any]:
    """Value and real vs real of each measure for images in the order of the test sources."""
    labels = test.columns.get("source_label", test.labels)
    metrics = PICTURES if labels is None else (*DIGITS, "accuracy@mnist-cnn")
    scores = ganzoo.evaluate(images, metrics, name, labels=labels, interval=False)
    values = {score.metric: [score.value, score.floor] for score in scores}
    if labels is not None:  # meant classes are those of the sources
        values[KEPT] = [values.pop("accuracy@mnist-cnn")[0], None]
    if "unpaired" not in test.columns:
        values[DISTANCE] = [float((images.double() - test.images.double()).abs().mean()) / 255, None]
    return values


def table(name: str, outcome: dict[str, Any]) -> str:
    """One dataset's rivals and runs in Markdown."""
    rivals, lost = outcome["rivals"][name], list[str]()
    rows = dict(rivals)
    latest = {run.record.recipe: run for run in read_runs(RESULTS) if run.record.status == "done"}
    for run in latest.values():
        if run.record.dataset == name:
            averaged = [score for score in run.scores if score["weights"] == "ema"]
            scores = {score["metric"]: [score["value"], score["floor"]] for score in averaged}
            took = "" if run.record.seconds is None else f", {run.record.seconds / 60:.1f} min"
            ours = {one: scores[one] for one in MEASURES if one in scores}
            rows[f"{run.record.recipe}{took}"] = ours
            beaten = [f"the {rival} by {listed(by)}" for rival, its in rivals.items() if (by := better(its, ours))]
            lost.append(f"`{run.record.recipe}` loses to {listed(beaten) if beaten else 'none of its rivals'}.\n")
    measures = list(dict.fromkeys(measure for scores in rows.values() for measure in scores))
    headings = {"": "left", **dict.fromkeys(measures, "right")}
    lines = [[row, *(written(scores.get(measure)) for measure in measures)] for row, scores in rows.items()]
    below = [sentences(*found) for found in outcome.get("classes", {}).get(name, {}).items()]
    return "\n".join([f"## {name}\n\n{markdown_table(headings, lines)}\n", *lost, *below])


def better(scores: dict[str, Any], than: dict[str, Any]) -> list[str]:
    """The measures by which the first scores are better."""
    signs = {one: -1 if one.startswith("fid") or one == DISTANCE else 1 for one in scores.keys() & than.keys()}
    return [one for one in scores if one in signs and signs[one] * (scores[one][0] - than[one][0]) > 0]


def becomes(made: Tensor, labels: Tensor) -> list[list[int]]:
    """How many pictures, made of sources of each class (row), show each class (column), according to mnist-cnn."""
    see = find_extractor("mnist-cnn", load_zoo())
    with torch.inference_mode():
        seen = torch.cat([see(some)[1].argmax(1) for some in torch.split(made, 500)])
    counts: list[list[int]] = torch.bincount(10 * labels + seen, minlength=100).view(10, 10).tolist()
    return counts


def sentences(recipe: str, classes: list[list[int]]) -> str:
    """What becomes of each digit, the commonest first, with shares of at least a tenth."""
    parts = []
    for digit, counts in enumerate(classes):
        shares = sorted(((count / sum(counts), other) for other, count in enumerate(counts)), reverse=True)
        named = ", ".join(f"{other} in {share:.0%}" for share, other in shares if share >= 0.1)
        parts.append(f"- {digit}: {named}")
    return f"What digits become, by `{recipe}`, according to mnist-cnn:\n\n" + "\n".join(parts) + "\n"


def written(score: list[float | None] | None) -> str:
    """Three digits, and real vs real in brackets."""
    if score is None:
        return ""
    value, floor = score
    return f"{value:.3g}" if floor is None else f"{value:.3g} ({floor:.3g})"


def main() -> None:
    """Score the rivals that have no score yet, and write both files."""
    zoo = load_zoo()
    outcome: dict[str, Any] = {"command": COMMAND, "environment": environment(resolve_device("cpu")), "rivals": {}}
    if OUTCOME.exists():
        outcome = json.loads(OUTCOME.read_text("utf-8"))
    for name in RIVALS.keys() - outcome["rivals"].keys():
        entry = zoo.datasets.get(name)
        train, test = entry.create("train", None), entry.create("test", None)
        outcome["rivals"][name] = {
            rival: scores_of(make(train, test), name, test) for rival, make in RIVALS[name].items()
        }
        print(table(name, outcome), flush=True)
    if sys.argv[1:]:
        generator = ganzoo.load(sys.argv[1], device="cpu")
        name = generator.recipe.dataset.name
        test = zoo.datasets.get(name).create("test", None)
        made = generator.translate(test.columns["source"])
        known = outcome.setdefault("classes", {}).setdefault(name, {})
        known[generator.recipe.name] = becomes(made, test.columns["source_label"])
    write_atomically(OUTCOME, (json.dumps(outcome, indent=1, ensure_ascii=False) + "\n").encode())
    tables = "\n".join(table(name, outcome) for name in RIVALS)
    introduction = INTRODUCTION.format(**outcome["environment"]["versions"], cpu=outcome["environment"]["cpu"])
    write_atomically(PAGE, f"{introduction}\n{tables}".encode())


if __name__ == "__main__":
    main()
