"""Writes the study `rivals`: GANs, flow matching, DDPM, VAE and VQ-VAE at equal seconds of one core.

    python benchmarks/rivals.py

measures how many images a second each row is trained on, and gives every row as many as it can see in 2, 5 and 15
minutes: so a study on any machine, however busy, has the same runs. Seconds are those that the thread computes, and
evaluation is not counted. It overwrites the study's file; its runs then need to be trained anew.
"""

from __future__ import annotations

from collections.abc import Callable
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
PINNED = ["train.precision=fp32", "train.threads=1", "evaluate.every_images=null"]
FLAGSHIP = ["conditional=false", "networks.discriminator.conditioning=none"]
FLAGSHIP += ["evaluate.metrics=[headline]", "regularizers=[{name: r1, weight: 0.25, every_steps: 8}]"]
ROWS = {
    BASELINE: ("dcgan-mnist", []),
    "vanilla": ("vanilla-mnist", []),
    "flagship without labels": ("flagship-mnist", FLAGSHIP),
    "r3gan": ("r3gan-mnist", []),
    "flow matching": ("flow-matching-mnist", []),
    "flow matching, MLP": ("flow-matching-mlp-mnist", []),
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
CLAIMS = [
    ("After 2 minutes, a DCGAN gives better images than flow matching.", "flow matching", "2 minutes", "fid"),
    ("After 15 minutes, a DCGAN gives better images than flow matching.", "flow matching", "15 minutes", "fid"),
    ("After 15 minutes, a DCGAN gives better images than DDPM.", "ddpm", "15 minutes", "fid"),
    ("After 15 minutes, a DCGAN gives better images than a VAE.", "vae", "15 minutes", "fid"),
    ("After 15 minutes, a DCGAN gives better images than a VQ-VAE.", "vq-vae", "15 minutes", "fid"),
    (
        "After 15 minutes, a DCGAN's digits vary more than those of flow matching.",
        "flow matching",
        "15 minutes",
        "recall",
    ),
]
"""What is claimed, of which rival, when, and by which measure."""
MEASURES = {"fid": ["fid@mnist-ae", "fid@mnist-cnn"], "recall": ["recall@mnist-cnn"]}
NOTES = [
    "Each row is its recipe, whose settings were chosen on digits by hand; none was tuned for these lengths. Falling "
    "rates reach their end at the end of each run.",
    "Images for each length are what one core trains in it, by `python benchmarks/rivals.py`; scoring is not counted.",
]


def main() -> None:
    """Measure, and write the file."""
    zoo = load_zoo()
    torch.set_num_threads(1)
    lengths: dict[str, list[int]] = {}
    speeds = []
    for row, (recipe, changes) in ROWS.items():
        speed = 1 / seconds_per_image(load_recipe(recipe, zoo, [*PINNED, *changes]), 1, zoo, None)
        speeds.append(f"{row} {speed:,.0f}")
        lengths[row] = [1000 * round(60 * minutes * speed / 1000) for minutes in MINUTES]
        print(speeds[-1], flush=True)

    def settings(row: str) -> dict[str, list[str]]:
        return {
            f"{minutes} minutes": [f"train.images={images}", *(SCALED[row](images) if row in SCALED else [])]
            for minutes, images in zip(MINUTES, lengths[row], strict=True)
        }

    study = {
        "question": "At equal seconds of one core, do GANs draw better digits than what came after them?",
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
            {"says": says, "method": "a DCGAN", "rival": rival, "better": "baseline", "than": rival, "at": at}
            | {"on": MEASURES[by]}
            for says, rival, at, by in CLAIMS
        ],
        "notes": NOTES,
    }
    hardware = hardware_in_words(environment(torch.device("cpu")))
    header = f"# Written by `python benchmarks/rivals.py`, which measured on {hardware}, in images/s:\n"
    text = header + f"# {', '.join(speeds)}\n" + yaml.safe_dump(study, sort_keys=False, width=110, allow_unicode=True)
    write_atomically(FILE, text.encode())


if __name__ == "__main__":
    main()
