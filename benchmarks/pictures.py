"""How good are the settings of the recipe ``pictures``? The same training with others: chosen ones, and ones drawn.

    python benchmarks/pictures.py train FOLDER [NAME...] --runs RUNS [--images N]
    python benchmarks/pictures.py report RUNS

``train`` runs ``ganzoo run --data FOLDER`` once for each name: ``default`` is the recipe as it stands, ``random-K``
draws values from ``SPACE`` with seed K, the names of ``CANDIDATES`` are settings that were tried one by one, and any
other name is a recipe, such as dcgan. Run folders go to RUNS/FOLDER's name/NAME; an interrupted one is resumed.
``--images`` shortens all of them, to choose among many. ``report`` collects the last scores of the averaged weights in
results/pictures.json and prints a table. Scores are measured against the pictures of a folder that are held out.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

from ganzoo import Run
from ganzoo.files import read_lines, write_atomically
from ganzoo.runs.diagnosis import diagnose
from ganzoo_reports.templates import markdown_table

RESULTS = Path(__file__).resolve().parent.parent / "results" / "pictures.json"
METRICS = ("fid@pictures-ae", "coverage@pictures-ae", "recall@pictures-ae", "memorisation@pictures-ae")
HEADINGS = {"run": "left", "images": "right", "minutes": "right", "FID": "right", "real": "right"}
HEADINGS |= {"coverage": "right", "recall": "right", "memorised": "right", "health": "left"}
RANDOM = tuple(f"random-{seed}" for seed in range(1, 7))
R1 = {"name": "r1", "weight": 1.0, "every_steps": 8}
SPACE: dict[str, tuple[Any, ...]] = {
    "optimizers.default.lr": tuple({"start": lr, "end": lr / 5} for lr in (2e-4, 5e-4, 1e-3, 2e-3, 4e-3)),
    "optimizers.default.betas": ([0.0, 0.9], [0.0, 0.99], [0.5, 0.99], [0.5, 0.999]),
    "train.batch_size": (32, 64, 128),
    "networks.discriminator.norm": ("none", "batch", "layer"),
    "loss.name": ("non-saturating", "hinge", "least-squares"),
    "regularizers": ([], [{**R1, "weight": 0.1}], [R1]),
    "augmentation": (None, {"name": "diffaugment"}, {"name": "ada", "images": 100_000}),
}
"""What the authors of DCGAN, R1, DiffAugment and ADA use, and what lies around it."""
LR, BETAS, NORM = "optimizers.default.lr", "optimizers.default.betas", "networks.discriminator.norm"
CANDIDATES: dict[str, dict[str, Any]] = {
    "slow": {LR: {"start": 5e-4, "end": 1e-4}, BETAS: [0.5, 0.99]},
    "fast": {LR: {"start": 2e-3, "end": 4e-4}, BETAS: [0.0, 0.99]},
    "faster": {LR: {"start": 4e-3, "end": 8e-4}, BETAS: [0.0, 0.99]},
    "weak-r1": {LR: {"start": 2e-3, "end": 4e-4}, BETAS: [0.0, 0.99], "regularizers": [{**R1, "weight": 0.1}]},
    "strong-r1": {LR: {"start": 2e-3, "end": 4e-4}, BETAS: [0.0, 0.99], "regularizers": [{**R1, "weight": 5.0}]},
    "as-on-digits": {LR: {"start": 4e-3, "end": 4e-4}, BETAS: [0.0, 0.99], NORM: "batch", "regularizers": []},
}


def drawn(seed: int) -> dict[str, Any]:
    """One value for each setting of ``SPACE``."""
    chance = random.Random(seed)
    return {setting: chance.choice(values) for setting, values in SPACE.items()}


def command(name: str) -> list[str]:
    """The recipe and settings that a name stands for, as arguments of ``ganzoo run``."""
    recipe, settings = [name], {}
    if name == "default":
        recipe = []
    elif name.startswith("random-"):
        recipe, settings = [], drawn(int(name.removeprefix("random-")))
    elif name in CANDIDATES:
        recipe, settings = [], CANDIDATES[name]
    return recipe + [part for key, value in settings.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def train(data: Path, names: list[str], runs: Path, images: int | None) -> None:
    """Train them one after the other; one that fails is left behind, and makes this command fail at its end."""
    failed = []
    for name in names:
        out = runs / data.name / name
        length = (
            [] if images is None else ["--set", f"train.images={images}", "--set", f"evaluate.every_images={images}"]
        )
        run = ["-m", "ganzoo", "run", *command(name), *length, "--data", str(data), "--out", str(out), "--continue"]
        if subprocess.run([sys.executable, *run], check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"Not trained on {data.name}: {', '.join(failed)}.")


def outcome(path: Path, record: dict[str, Any]) -> dict[str, Any]:
    """What a report says of one run folder that has ended."""
    keys = ("status", "images", "seconds", "shape", "precision", "environment")
    found: dict[str, Any] = {key: record[key] for key in keys}
    for score in Run.open(path).scores:
        if score["metric"] in METRICS and score["weights"] == "ema":
            found[score["metric"]] = {key: score[key] for key in ("value", "floor", "sd", "images")}
    health = diagnose(read_lines(path / "events.jsonl")).verdict
    return {**found, "health": health, "settings": command(path.name)}


def report(runs: Path) -> None:
    """Write and print what was reached on each folder."""
    found = {}
    for file in sorted(runs.glob("*/*/run.json")):
        record = json.loads(file.read_text(encoding="utf-8"))
        if "images" in record:
            found[f"{file.parent.parent.name}/{file.parent.name}"] = outcome(file.parent, record)
    write_atomically(RESULTS, (json.dumps(found, indent=1) + "\n").encode())
    rows = []
    for name, one in found.items():
        fid = one.get(METRICS[0])
        values = [f"{one[metric]['value']:.3g}" if metric in one else "-" for metric in METRICS]
        real = f"{fid['floor']:.3g}" if fid else "-"
        rows.append(
            [name, f"{one['images']:,}", f"{one['seconds'] / 60:.1f}", values[0], real, *values[1:], one["health"]]
        )
    print(markdown_table(HEADINGS, rows))


def main() -> None:
    """Train, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    training = commands.add_parser("train")
    training.add_argument("data", type=Path)
    training.add_argument("names", nargs="*", default=["default", *RANDOM])
    training.add_argument("--runs", type=Path, required=True)
    training.add_argument("--images", type=int)
    commands.add_parser("report").add_argument("runs", type=Path)
    args = parser.parse_args()
    if args.command == "train":
        train(args.data, args.names, args.runs, args.images)
    else:
        report(args.runs)


if __name__ == "__main__":
    main()
