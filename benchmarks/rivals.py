"""Writes the study `rivals`: GANs, flow matching, DDPM, VAE and VQ-VAE at equal seconds of one core.

    python benchmarks/rivals.py

measures how many images a second each row is trained on, and gives every row as many as it can see in 2, 5 and 15
minutes: so a study on any machine, however busy, has the same runs. Seconds are those that the thread computes, and
evaluation is not counted. It overwrites the study's file; its runs then need to be trained anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
import yaml

from ganzoo.config.loading import load_recipe
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo_studies.cost import seconds_per_image

FILE = Path(__file__).resolve().parent.parent / "plugins" / "ganzoo_plugins" / "studies" / "rivals.yaml"
BASELINE = "dcgan"
MINUTES = (2, 5, 15)
PINNED = ["train.precision=fp32", "train.threads=1", "evaluate.every_images=null", "evaluate.metrics=[]"]
FLAGSHIP = ["conditional=false", "networks.discriminator.conditioning=none"]
FLAGSHIP += ["regularizers=[{name: r1, weight: 0.25, every_steps: 8}]"]  # without its auxiliary classifier
ROWS = {
    BASELINE: ("dcgan-mnist", []),
    "vanilla": ("vanilla-mnist", []),
    "flagship without labels": ("flagship-mnist", FLAGSHIP),
    "r3gan": ("r3gan-mnist", []),
    "flow matching": ("flow-matching-mnist", []),
    "flow matching with an MLP": ("flow-matching-mlp-mnist", []),
    "ddpm": ("ddpm-mnist", []),
    "vae": ("vae-mnist", []),
    "vq-vae": ("vq-vae-mnist", []),
}
"""By row: its recipe, and what is changed in it."""
SCALED: dict[str, Callable[[int], list[str]]] = {
    # The recipe's average spans a 2.7th of its steps; VQ-VAE's prior begins at 30% of them.
    "flagship without labels": lambda images: [f"train.ema={1 - 2.7 / (images / 128):.6f}"],
    "vq-vae": lambda images: [
        f"optimizers.default.lr={{start: 1e-3, end: 1e-4, images: {images * 3 // 10}}}",
        f"optimizers.prior.lr={{start: 1e-3, end: 1e-4, delay: {images * 3 // 10}}}",
    ],
}
"""What depends on the length of a run, apart from what recipes give as a share of it."""
PAPERS = {
    "flow matching": "Lipman et al. 2023, Flow Matching for Generative Modeling, arXiv:2210.02747",
    "ddpm": "Ho, Jain & Abbeel 2020, Denoising Diffusion Probabilistic Models, arXiv:2006.11239",
    "vae": "Kingma & Welling 2014, Auto-Encoding Variational Bayes, arXiv:1312.6114",
    "vq-vae": "van den Oord, Vinyals & Kavukcuoglu 2017, Neural Discrete Representation Learning, arXiv:1711.00937",
}
CLAIMS = [
    ("flow matching gives better images than a DCGAN", "flow matching", 2, "fid"),
    ("flow matching gives better images than a DCGAN", "flow matching", 15, "fid"),
    ("DDPM gives better images than a DCGAN", "ddpm", 15, "fid"),
    ("a VAE gives better images than a DCGAN", "vae", 15, "fid"),
    ("VQ-VAE gives better images than a DCGAN", "vq-vae", 15, "fid"),
    ("flow matching's digits vary more than a DCGAN's", "flow matching", 15, "recall"),
]
"""What is claimed, of which row, after how many minutes, and by which measure."""
NAMES = {"ddpm": "DDPM", "vae": "a VAE", "vq-vae": "VQ-VAE"}
MEASURES = {"fid": ["fid@mnist-ae", "fid@mnist-cnn"], "recall": ["recall@mnist-cnn"]}
NOTES = [
    "Each row is its recipe, whose settings were chosen on digits by hand; none was tuned for these lengths. Falling "
    "rates reach their end at the end of each run.",
    "Images for each length are what one core trains in it, by `python benchmarks/rivals.py`; scoring is not counted.",
]


def file(speeds: Mapping[str, int], hardware: str) -> str:
    """The study's file, given how many images a second each row is trained on, and on what."""

    def settings(row: str) -> dict[str, list[str]]:
        lengths = {minutes: 1000 * round(60 * minutes * speeds[row] / 1000) for minutes in MINUTES}
        return {
            f"{minutes} minutes": [f"train.images={images}", *(SCALED[row](images) if row in SCALED else [])]
            for minutes, images in lengths.items()
        }

    study = {
        "question": "In equal time, do GANs draw better digits than their rivals?",
        "baseline": ROWS[BASELINE][0],
        "overrides": ["evaluate.every_images=null"],
        "settings": settings(BASELINE),
        "variants": {
            row: {"recipe": recipe, "overrides": changes, "settings": settings(row)}
            for row, (recipe, changes) in ROWS.items()
            if row != BASELINE
        },
        "measures": [*MEASURES["fid"], "coverage@mnist-cnn", *MEASURES["recall"], "memorisation@mnist-cnn"],
        "claims": [
            {
                "says": f"After {minutes} minutes, {says}.",
                "method": f"{NAMES.get(row, row)} at {minutes} minutes{' for variety' * (by == 'recall')}",
                "rival": "DCGAN",
                "paper": PAPERS[row],
                "better": row,
                "at": f"{minutes} minutes",
                "on": list(MEASURES[by]),  # a copy: the same list again would be written as an alias
            }
            for says, row, minutes, by in CLAIMS
        ],
        "notes": NOTES,
    }
    header = f"# Written by `python benchmarks/rivals.py`, which measured on {hardware}, in images/s:\n"
    measured = ", ".join(f"{row} {speed:,}" for row, speed in speeds.items())
    return f"{header}# {measured}\n{yaml.safe_dump(study, sort_keys=False, width=110, allow_unicode=True)}"


def main() -> None:
    """Measure, and write the file."""
    zoo = load_zoo()
    torch.set_num_threads(1)
    speeds: dict[str, int] = {}
    for row, (recipe, changes) in ROWS.items():
        speeds[row] = round(1 / seconds_per_image(load_recipe(recipe, zoo, [*PINNED, *changes]), 1, zoo, None))
        print(f"{row} {speeds[row]:,}", flush=True)
    write_atomically(FILE, file(speeds, hardware_in_words(environment(torch.device("cpu")))).encode())


if __name__ == "__main__":
    main()
