"""Writes the studies of rivals: GANs, flow matching, DDPM, VAE and VQ-VAE at equal seconds of one core.

    python benchmarks/rivals.py {rivals,rivals-faces}

measures how many images a second each row is trained on, and gives every row as many as it can see in each of a study's
lengths: so a study on any machine, however busy, has the same runs. Seconds are those that the thread computes, and
evaluation is not counted. It overwrites the study's file; its runs then need to be trained anew.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml

from ganzoo.config.loading import load_recipe
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.runs.provenance import environment, hardware_in_words
from ganzoo_studies.cost import seconds_per_image

STUDIES = Path(__file__).resolve().parent.parent / "plugins" / "ganzoo_plugins" / "studies"
BASELINE = "dcgan"
PINNED = ["train.precision=fp32", "train.threads=1", "evaluate.every_images=null", "evaluate.metrics=[]"]
FLAGSHIP = ["conditional=false", "networks.discriminator.conditioning=none"]
FLAGSHIP += ["regularizers=[{name: r1, weight: 0.25, every_steps: 8}]"]  # without its auxiliary classifier
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
NAMES = {"ddpm": "DDPM", "vae": "a VAE", "vq-vae": "VQ-VAE"}
KINDS = {"fid": "", "recall": " for variety"}
TOLD = "Images are what one core trains in each length, by `python benchmarks/rivals.py`; scoring is not counted."


@dataclass(frozen=True)
class Contest:
    """One study of rivals."""

    question: str
    minutes: tuple[int, ...]
    overrides: list[str]  # for every run
    rows: Mapping[str, tuple[str, list[str]]]  # by row: its recipe, and what is changed in it
    measures: Mapping[str, list[str]]  # by kind: the measures of claims; the rest only stand beside them
    claims: list[tuple[str, str, int, str]]  # what is claimed, of which row, after how many minutes, by which kind
    notes: list[str]
    where: str = ""  # in the names of claims' methods; empty for the length
    searched: Mapping[str, dict[str, list[Any]]] = field(default_factory=dict)  # by row: what is tuned first


CONTESTS = {
    "rivals": Contest(
        question="In equal time, do GANs draw better digits than their rivals?",
        minutes=(2, 5, 15),
        overrides=["evaluate.every_images=null"],
        rows={
            BASELINE: ("dcgan-mnist", []),
            "vanilla": ("vanilla-mnist", []),
            "flagship without labels": ("flagship-mnist", FLAGSHIP),
            "r3gan": ("r3gan-mnist", []),
            "flow matching": ("flow-matching-mnist", []),
            "flow matching with an MLP": ("flow-matching-mlp-mnist", []),
            "ddpm": ("ddpm-mnist", []),
            "vae": ("vae-mnist", []),
            "vq-vae": ("vq-vae-mnist", []),
        },
        measures={
            "fid": ["fid@mnist-ae", "fid@mnist-cnn"],
            "": ["coverage@mnist-cnn"],
            "recall": ["recall@mnist-cnn"],
            "copies": ["memorisation@mnist-cnn"],
        },
        claims=[
            ("flow matching gives better images than a DCGAN", "flow matching", 2, "fid"),
            ("flow matching gives better images than a DCGAN", "flow matching", 15, "fid"),
            ("DDPM gives better images than a DCGAN", "ddpm", 15, "fid"),
            ("a VAE gives better images than a DCGAN", "vae", 15, "fid"),
            ("VQ-VAE gives better images than a DCGAN", "vq-vae", 15, "fid"),
            ("flow matching's digits vary more than a DCGAN's", "flow matching", 15, "recall"),
        ],
        notes=[
            "Each row is its recipe, whose settings were chosen on digits by hand; none was tuned for these lengths. "
            "Falling rates reach their end at the end of each run.",
            TOLD,
        ],
    ),
    "rivals-faces": Contest(
        question="In equal time, do GANs draw better faces than their rivals?",
        minutes=(5,),
        overrides=["dataset=faces", "evaluate.every_images=null"],
        rows={
            BASELINE: ("pictures", []),
            "vanilla": ("vanilla-mnist", []),
            "flagship without labels": ("flagship-mnist", FLAGSHIP),
            "r3gan": ("r3gan-mnist", []),
            "flow matching": ("flow-matching-mnist", ["prior.dim=3072"]),  # as many as pixels and channels
            "flow matching with an MLP": ("flow-matching-mlp-mnist", ["prior.dim=3072"]),
            "ddpm": ("ddpm-mnist", ["prior.dim=3072"]),
            "vae": ("vae-mnist", []),
            "vq-vae": ("vq-vae-mnist", ["prior.dim=1024"]),  # 64 positions of 16 numbers
        },
        searched={
            "flow matching": {"optimizers.default.lr": [6e-4, 2e-3, 6e-3]},
            "ddpm": {"optimizers.default.lr": [6e-4, 2e-3, 6e-3]},
            "vae": {"optimizers.default.lr": [3e-4, 1e-3, 3e-3]},
        },
        measures={
            "fid": ["fid@pictures-ae"],
            "": ["coverage@pictures-ae"],
            "recall": ["recall@pictures-ae"],
            "copies": ["memorisation@pictures-ae"],
        },
        claims=[
            ("flow matching draws better faces than a DCGAN", "flow matching", 5, "fid"),
            ("DDPM draws better faces than a DCGAN", "ddpm", 5, "fid"),
            ("a VAE draws better faces than a DCGAN", "vae", 5, "fid"),
            ("flow matching's faces vary more than a DCGAN's", "flow matching", 5, "recall"),
        ],
        notes=[
            "The DCGAN is the recipe `pictures`, whose settings were chosen on faces and other pictures; the rates of "
            "flow matching, DDPM and the VAE are searched here. The other rows keep the settings that were chosen on "
            "digits, and no claim is about them.",
            TOLD,
        ],
        where="on faces",
    ),
}


def file(name: str, speeds: Mapping[str, int], hardware: str) -> str:
    """A study's file, given how many images a second each row is trained on, and on what."""
    contest = CONTESTS[name]

    def settings(row: str) -> dict[str, list[str]]:
        lengths = {minutes: 1000 * round(60 * minutes * speeds[row] / 1000) for minutes in contest.minutes}
        return {
            f"{minutes} minutes": [f"train.images={images}", *(SCALED[row](images) if row in SCALED else [])]
            for minutes, images in lengths.items()
        }

    def variant(row: str) -> dict[str, Any]:
        recipe, changes = contest.rows[row]
        search = {"search": contest.searched[row]} if row in contest.searched else {}
        return {"recipe": recipe, "overrides": changes, **search, "settings": settings(row)}

    study = {
        "question": contest.question,
        "baseline": contest.rows[BASELINE][0],
        "overrides": contest.overrides,
        "settings": settings(BASELINE),
        "variants": {row: variant(row) for row in contest.rows if row != BASELINE},
        "measures": [name for names in contest.measures.values() for name in names],
        "claims": [
            {
                "says": f"After {minutes} minutes, {says}.",
                "method": f"{NAMES.get(row, row)} {contest.where or f'at {minutes} minutes'}{KINDS[by]}",
                "rival": "DCGAN",
                "paper": PAPERS[row],
                "better": row,
                "at": f"{minutes} minutes",
                "on": list(contest.measures[by]),  # a copy: the same list again would be written as an alias
            }
            for says, row, minutes, by in contest.claims
        ],
        "notes": contest.notes,
    }
    header = f"# Written by `python benchmarks/rivals.py {name}`, which measured on {hardware}, in images/s:\n"
    measured = ", ".join(f"{row} {speed:,}" for row, speed in speeds.items())
    return f"{header}# {measured}\n{yaml.safe_dump(study, sort_keys=False, width=110, allow_unicode=True)}"


def main() -> None:
    """Measure, and write the file."""
    if len(sys.argv) != 2 or sys.argv[1] not in CONTESTS:
        sys.exit(__doc__)
    contest, zoo = CONTESTS[sys.argv[1]], load_zoo()
    torch.set_num_threads(1)
    speeds: dict[str, int] = {}
    for row, (recipe, changes) in contest.rows.items():
        settings = [*PINNED, *contest.overrides, *changes]
        speeds[row] = round(1 / seconds_per_image(load_recipe(recipe, zoo, settings), 1, zoo, None))
        print(f"{row} {speeds[row]:,}", flush=True)
    hardware = hardware_in_words(environment(torch.device("cpu")))
    write_atomically(STUDIES / f"{sys.argv[1]}.yaml", file(sys.argv[1], speeds, hardware).encode())


if __name__ == "__main__":
    main()
