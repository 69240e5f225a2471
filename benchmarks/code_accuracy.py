"""Whether a categorical code, learned without labels, represents the digit.

    python benchmarks/code_accuracy.py RUN... --out results/code-accuracy.jsonl

Images are drawn for every value of the code, and a classifier of the dataset predicts their classes. The clustering
accuracy is the share of images whose class is that of their code under the best one-to-one assignment of codes to
classes (by the Hungarian algorithm), as is usual for clustering; ``purity`` lets several codes share a class.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment

from ganzoo import CodesPrior, GanzooError, TrainedGenerator, load
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.requests import find_extractor
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo

SAMPLES = 10_000
SEED = 0


def accuracy(table: np.ndarray) -> float:
    """The largest share of images on the diagonal, over all assignments of codes to classes.

    Args:
        table: Images by code and class, (codes, classes).
    """
    codes, classes = linear_sum_assignment(table, maximize=True)
    return float(table[codes, classes].sum() / table.sum())


def purity(table: np.ndarray) -> float:
    """The share of images that belong to their code's most frequent class."""
    return float(table.max(axis=1).sum() / table.sum())


def contingency(generator: TrainedGenerator, zoo: Zoo, extractor: str) -> np.ndarray:
    """Counts of ``SAMPLES`` images by value of the first categorical code and by class, (codes, classes)."""
    prior = generator.assembly.spec.prior
    if not isinstance(prior, CodesPrior) or not prior.categorical:
        raise GanzooError(
            f"The recipe '{generator.recipe.name}' has no categorical code.", "Its prior must be `codes`."
        )
    values = prior.categorical[0]
    codes = prior.sample(SAMPLES, torch.Generator().manual_seed(SEED), torch.device("cpu"))
    value = codes[:, prior.dim : prior.dim + values].argmax(1)
    images = generator.decode(codes)
    features = extract(extractor, find_extractor(extractor, zoo, tuple(images.shape[1:])), images, generator.device)
    if features.logits is None:
        raise GanzooError(f"The extractor '{extractor}' does not classify.", "Give one that does, such as mnist-cnn.")
    predicted = features.logits.argmax(1)
    table = np.zeros((values, features.logits.shape[1]), dtype=np.int64)
    np.add.at(table, (value.numpy(), predicted.cpu().numpy()), 1)
    return table


def measure(run: Path, zoo: Zoo, extractor: str) -> dict[str, Any]:
    """One line for a run."""
    generator = load(run, zoo=zoo)
    table = contingency(generator, zoo, extractor)
    return {
        "recipe": generator.recipe.name,
        "extractor": extractor,
        "weights": generator.weights[0],
        "seed": generator.recipe.train.seed,
        "samples": SAMPLES,
        "sample_seed": SEED,
        "images": int(generator.checkpoint.state["images"]),
        "clustering_accuracy": accuracy(table),
        "purity": purity(table),
        "table": table.tolist(),
        "environment": generator.run.info["environment"],
    }


def main() -> None:
    """Measure runs, print their scores, and write one JSON line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--extractor", default="mnist-cnn")
    parser.add_argument("--out", type=Path, help="a file of JSON lines; an existing file is replaced")
    options = parser.parse_args()
    try:
        zoo = load_zoo()
        lines = [measure(run, zoo, options.extractor) for run in options.runs]
    except GanzooError as error:
        sys.exit(str(error))
    for line in lines:
        print(f"{line['recipe']}: clustering accuracy {line['clustering_accuracy']:.3f}, purity {line['purity']:.3f}")
    if options.out:
        write_atomically(options.out, "".join(json.dumps(line) + "\n" for line in lines).encode())


if __name__ == "__main__":
    main()
