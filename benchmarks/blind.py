"""Twenty sets of samples, judged in pairs by a viewer who does not see their names, and how well each metric agrees.

    python benchmarks/blind.py make --folder FOLDER             # short training runs, 10,000 samples of each: an hour
    python benchmarks/blind.py show --folder FOLDER             # the pairs, without names: FOLDER/pairs/*.png
    python benchmarks/blind.py ask --folder FOLDER              # asks about them; results/blind/answers.json
    python benchmarks/blind.py score --folder FOLDER            # results/blind/scores.json: every view of every set
    python benchmarks/blind.py report                           # rank agreement, printed and into docs/metrics.md

Every set is paired with ten others. A seed decides which sets a pair shows, and nothing reveals their names before
``score``; ``report`` needs only the committed files. All answers are from one viewer.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw
from scipy.stats import kendalltau, spearmanr

from ganzoo import evaluate
from ganzoo.files import write_atomically
from ganzoo_reports.templates import between_markers, markdown_table

RESULTS = Path(__file__).resolve().parent.parent / "results" / "blind"
PAGE = RESULTS.parent.parent / "docs" / "metrics.md"
MARKERS = BEGIN, END = "<!-- blind: begin -->", "<!-- blind: end -->"
N = 10_000
SETS = {
    "vanilla-mnist": (150_000, 500_000),
    "cgan-mnist": (80_000, 400_000),
    "flagship-mnist": (150_000, 500_000),
    "dcgan-mnist": (40_000, 120_000),
    "projection-mnist": (200_000,),
    "infogan-mnist": (240_000,),
    "wgan-gp-mnist": (300_000,),
    "wgan-div-mnist": (200_000,),
    "vae-mnist": (250_000,),
    "vq-vae-mnist": (120_000,),
    "began-mnist": (100_000,),
    "ebgan-mnist": (150_000,),
    "aae-mnist": (200_000,),
    "acgan-mnist": (300_000,),
    "weight-clipping-mnist": (250_000,),
    "sngan-mnist": (40_000,),
}
"""Recipes of the zoo, with numbers of training images: different families, of poor to good quality.

None of these sets was used to choose a view.
"""
NAMES = tuple(f"{recipe}-{images}" for recipe, lengths in SETS.items() for images in lengths)
QUESTIONS = ("legibility", "variety")
VIEWS = ("fid@mnist-ae", "fid@mnist-cnn", "coverage@mnist-ae", "recall@mnist-ae")
ROUNDS, SEED = 10, 7
SIDE, SCALE, PAIRS_A_SHEET = 8, 1.5, 5
"""A grid has SIDE x SIDE samples, each enlarged SCALE times."""


def make(folder: Path) -> None:
    """Train the missing sets and keep uint8 samples; continues where it was interrupted."""
    folder.mkdir(parents=True, exist_ok=True)
    for recipe, lengths in SETS.items():
        for images in lengths:
            samples, run = folder / f"{recipe}-{images}.npz", folder / "runs" / f"{recipe}-{images}"
            if samples.exists():
                continue
            ganzoo = [sys.executable, "-m", "ganzoo"]
            settings = [f"train.images={images}", "train.device=cpu", f"evaluate.every_images={images}"]
            settings += ["evaluate.samples=500", "evaluate.metrics=[fid@mnist-cnn]"]
            chosen = [word for setting in settings for word in ("--set", setting)]
            train = ["run", recipe, "--seed", "0", "--out", str(run), "--continue", *chosen]
            for words in (train, ["sample", str(run), "--n", str(N), "--out", str(samples)]):
                if code := subprocess.run([*ganzoo, *words]).returncode:
                    sys.exit(code)  # it has printed why; the same command continues from here


def pairs() -> list[tuple[str, str]]:
    """The pairs of sets, left and right: in each of ROUNDS rounds, every set occurs once; no pair repeats."""
    random = np.random.default_rng(SEED)
    seats = list(random.permutation(NAMES))
    rounds = []
    for _ in range(len(NAMES) - 1):  # a round-robin by the circle method
        rounds.append([(seats[i], seats[-1 - i]) for i in range(len(seats) // 2)])
        seats = [seats[0], seats[-1], *seats[1:-1]]
    chosen = [rounds[i] for i in random.permutation(len(rounds))[:ROUNDS]]
    return [
        (str(a), str(b)) if random.random() < 0.5 else (str(b), str(a))
        for one in chosen
        for a, b in (one[i] for i in random.permutation(len(one)))
    ]


def samples_of(folder: Path, name: str) -> np.ndarray:
    """A set's images, uint8 (N, 28, 28).

    Raises:
        SystemExit: It is missing.
    """
    path = folder / f"{name}.npz"
    if not path.exists():
        raise SystemExit(f"{path} does not exist. Run `make` with this folder first.")
    images: np.ndarray = np.load(path)["images"]
    return images.reshape(-1, 28, 28)


def show(folder: Path) -> None:
    """Draw the pairs, with different samples of a set each time."""
    random = np.random.default_rng(SEED)
    sets = {name: samples_of(folder, name) for name in NAMES}
    width = int(SIDE * 28 * SCALE)
    (folder / "pairs").mkdir(exist_ok=True)
    met = pairs()
    for start in range(0, len(met), PAIRS_A_SHEET):
        sheet = Image.new("L", (2 * width + 70, PAIRS_A_SHEET * (width + 10)), 80)
        for row, pair in enumerate(met[start : start + PAIRS_A_SHEET]):
            ImageDraw.Draw(sheet).text((5, row * (width + 10) + 5), str(start + row + 1), fill=255, font_size=22)
            for side, name in enumerate(pair):
                some = sets[name][random.permutation(N)[: SIDE * SIDE]].reshape(SIDE, SIDE, 28, 28)
                grid = Image.fromarray(some.transpose(0, 2, 1, 3).reshape(SIDE * 28, SIDE * 28))
                sheet.paste(
                    grid.resize((width, width), Image.Resampling.BICUBIC),
                    (50 + side * (width + 15), row * (width + 10)),
                )
        sheet.save(folder / "pairs" / f"{start // PAIRS_A_SHEET + 1:02}.png")


def ask(folder: Path) -> None:
    """Ask about the pairs that have no answer yet; ``l`` or ``r`` for each question.

    Raises:
        SystemExit: The file has another viewer's answers.
    """
    path = RESULTS / "answers.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    viewer = input("name of the viewer? ").strip()
    known: dict[str, Any] = {"viewer": viewer, "answers": []}
    if path.exists():
        known = json.loads(path.read_text("utf-8"))
    if known["viewer"] != viewer:
        raise SystemExit(f"{path} has the answers of '{known['viewer']}'. Move it to start from the first pair.")
    answers: list[dict[str, str]] = known["answers"]
    for number in range(len(answers), len(pairs())):
        sheet = folder / "pairs" / f"{number // PAIRS_A_SHEET + 1:02}.png"
        answers.append({q: left_or_right(f"{sheet}, pair {number + 1}: more {q}, l or r? ") for q in QUESTIONS})
        write_atomically(path, (json.dumps({"viewer": viewer, "answers": answers}, indent=1) + "\n").encode())


def left_or_right(question: str) -> str:
    """Ask until the answer is left or right."""
    while True:
        answer = input(question).strip().lower()
        if answer in ("l", "left", "r", "right"):
            return "left" if answer[0] == "l" else "right"


def score(folder: Path) -> None:
    """Score every set by every metric, against the test images."""
    values: dict[str, dict[str, float]] = {}
    for name in NAMES:
        images = torch.from_numpy(samples_of(folder, name))[:, None]
        scores = evaluate(images, list(VIEWS), dataset="mnist")
        values[name] = {one.metric: one.value for one in scores}
        print(name, values[name], flush=True)
    write_atomically(RESULTS / "scores.json", (json.dumps(values, indent=1) + "\n").encode())


def strengths(answers: list[dict[str, str]], question: str) -> dict[str, float]:
    """The strength of each set according to the answers, by the Bradley-Terry model with a weak Gaussian prior.

    Args:
        answers: For each pair, in order, ``left`` or ``right`` by question.
        question: One of ``QUESTIONS``.

    Returns:
        Strengths by name, in logits: a set wins against one that is weaker by x with probability 1 / (1 + exp(-x)).
    """
    index = {name: i for i, name in enumerate(NAMES)}
    met = [pair if answer[question] == "left" else pair[::-1] for pair, answer in zip(pairs(), answers, strict=True)]
    won, lost = (torch.tensor([index[pair[side]] for pair in met]) for side in (0, 1))
    ability = torch.zeros(len(NAMES), dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([ability], max_iter=500, tolerance_grad=1e-10, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        cost = torch.nn.functional.softplus(ability[lost] - ability[won]).sum() + 0.05 * ability.square().sum()
        cost.backward()
        return cost

    optimizer.step(loss)
    return dict(zip(NAMES, ability.tolist(), strict=True))


def agreement(
    answers: list[dict[str, str]], scores: dict[str, dict[str, float]]
) -> dict[str, dict[str, dict[str, float]]]:
    """For each view and question: Kendall's tau and Spearman's rho over sets, and the share of pairs that agree."""
    agreements: dict[str, dict[str, dict[str, float]]] = {}
    for view in next(iter(scores.values())):
        sign = -1 if view.startswith("fid") else 1
        good = {name: sign * scores[name][view] for name in NAMES}
        for question in QUESTIONS:
            judged = strengths(answers, question)
            both = [judged[name] for name in NAMES], [good[name] for name in NAMES]
            alike = [
                (good[a] > good[b]) == (one[question] == "left") for (a, b), one in zip(pairs(), answers, strict=True)
            ]
            agreements.setdefault(view, {})[question] = {
                "kendall": float(kendalltau(*both).statistic),
                "spearman": float(spearmanr(*both).statistic),
                "pairs": float(np.mean(alike)),
            }
    return agreements


def report() -> str:
    """The agreement, in Markdown."""
    answers: list[dict[str, str]] = json.loads((RESULTS / "answers.json").read_text("utf-8"))["answers"]
    if len(answers) < len(pairs()):
        raise SystemExit(f"{len(answers)} of {len(pairs())} pairs have an answer. `ask` continues with the others.")
    agreements = agreement(answers, json.loads((RESULTS / "scores.json").read_text("utf-8")))
    headings = ("view", *(f"{q}: Kendall, Spearman, pairs" for q in QUESTIONS))
    rows = [
        [f"`{view}`", *(f"{of[q]['kendall']:.2f}, {of[q]['spearman']:.2f}, {of[q]['pairs']:.0%}" for q in QUESTIONS)]
        for view, of in agreements.items()
    ]
    return markdown_table(dict.fromkeys(headings, "left"), rows)


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "show", "ask", "score", "report"])
    parser.add_argument("--folder", type=Path, help="where the samples are")
    args = parser.parse_args()
    if args.step == "report":
        text = report()
        write_atomically(PAGE, between_markers(PAGE.read_text(encoding="utf-8"), MARKERS, text, str(PAGE)).encode())
        print(text)
    elif args.folder is None:
        parser.error("--folder is missing")
    else:
        {"make": make, "show": show, "ask": ask, "score": score}[args.step](args.folder)


if __name__ == "__main__":
    main()
