"""Does ``pictures-ae`` order faults on pictures that it never saw? Pictures with increasing faults, in five worlds.

    python benchmarks/ruler_pictures.py

writes results/ruler/pictures.json and the table in docs/metrics.md; with ``--page``, only the table. ``--world NAME``,
which may be repeated, measures only those worlds and keeps the file's others. ``--fit`` also measures, in the world
``characters``, the same autoencoder fitted to that world's own pictures.

A world has a pool of up to 10,000 pictures and a reference of 2,000 others; a set has 2,000 pictures of the pool. A
fault's five cells are ordered pairs: each strength costs more than the one before, and the weakest more than none. A
fault is seen if its second strength costs more than 2 standard deviations of real vs real. ``characters``, the
photographs, and half of the faults (``Fault.withheld``) took no part in choosing the ruler. The photographs are random
crops of the twelve of Debian's package mate-backgrounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from ganzoo import Dataset, Extractor
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import extract
from ganzoo.evaluation.metrics import memorised
from ganzoo.evaluation.requests import find_extractor
from ganzoo.files import write_atomically
from ganzoo.registry.loading import Zoo, load_zoo
from ganzoo.runs.provenance import environment
from ganzoo_plugins.extractors.mnist_ae_training import VALIDATION, train
from ganzoo_plugins.extractors.pictures_ae import PicturesAe, PicturesEncoder, native
from ganzoo_plugins.extractors.pictures_ae_training import slid
from ganzoo_reports.templates import between_markers
from image_faults import PICTURE_FAULTS, PICTURE_INVISIBLE, Fault
from ruler import PAGE, RESULTS, SEED, Pixels, scorer

FILE = RESULTS / "pictures.json"
MARKS = "<!-- ruler pictures: begin -->", "<!-- ruler pictures: end -->"
PHOTOGRAPHS = Path("/usr/share/backgrounds/mate/nature")
POOL, N, DRAWS = 10_000, 2_000, 20
"""Pictures in a pool, in a reference and in a set, and sets of real vs real."""
CLUSTERS = 10
CPU = torch.device("cpu")
VIEWS = ("fid@pictures-ae", "fid@pixels")
OF_SETS = ("recall@pictures-ae", "coverage@pictures-ae")
"""Views that are measured only on faults of the set, and not judged."""
MEMORISED, COPIED = "memorisation@pictures-ae", (0.05, 0.1, 0.2, 0.4, 0.8)
"""The view that sees copies of training pictures, and the shares of them; a withheld fault."""
WITHHELD = ("characters", "photographs")
FITTED = "fid@fitted"
"""A view in the same autoencoder, fitted to the world's own pictures."""


def registered(name: str) -> Callable[[Zoo], tuple[Tensor, Tensor]]:
    """What loads a dataset's pool and reference.

    The reference of digits and clothes is of their validation images, on which nothing was fitted: MNIST's first test
    digits were written more neatly than its training digits, so they are not what real vs real is about.
    """

    def load(zoo: Zoo) -> tuple[Tensor, Tensor]:
        train = zoo.datasets.get(name).create("train", None)
        if len(train) == POOL:
            return train.images, zoo.datasets.get(name).create("test", None).images[:N]
        held_out = train.held_out(VALIDATION)
        return train.rows(~held_out).images[:POOL], train.rows(held_out).images[:N]

    return load


def photographs(zoo: Zoo) -> tuple[Tensor, Tensor]:
    """Crops of nature photographs, uint8 (n, 3, 32, 32): from an eighth to half as high as the photograph."""
    files = sorted(PHOTOGRAPHS.glob("*.jpg"))
    if not files:
        raise GanzooError(f"{PHOTOGRAPHS} has no photographs.", "Install Debian's package mate-backgrounds.")
    pictures = [ImageOps.contain(Image.open(file).convert("RGB"), (640, 640)) for file in files]
    random = np.random.default_rng(0)
    crops = []
    for number in range(POOL + N):
        picture = pictures[number % len(pictures)]
        side = random.uniform(1 / 8, 1 / 2) * min(picture.size)
        left, top = random.uniform(0, np.array(picture.size) - side)
        crops.append(
            pil_to_tensor(picture.resize((32, 32), Image.Resampling.BOX, (left, top, left + side, top + side)))
        )
    order = torch.from_numpy(random.permutation(POOL + N))
    stacked = torch.stack(crops)[order]
    return stacked[:POOL], stacked[POOL:]


WORLDS = {
    **{name: registered(name) for name in ("faces", "mnist", "fashion-mnist", "characters")},
    "photographs": photographs,
}


class HalfPixels(Pixels):
    """64 principal components of the pixels at half the size, which 10,000 pictures are enough for."""

    def __init__(self, images: Tensor) -> None:
        super().__init__(F.avg_pool2d(images.float(), 2))

    def forward(self, images: Tensor) -> tuple[Tensor, None]:
        """Components (n, 64)."""
        return super().forward(F.avg_pool2d(images.float(), 2))


def clusters(images: Tensor, rounds: int = 20) -> Tensor:
    """k-means in pixels at a quarter of the size, int64 (n,)."""
    points = F.avg_pool2d(images.float(), 4).flatten(1)
    centres = points[torch.randperm(len(points), generator=torch.Generator().manual_seed(0))[:CLUSTERS]]
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        centres = torch.stack([points[nearest == one].mean(0) for one in range(CLUSTERS)])
    return nearest


def fitted_to(images: Tensor) -> Extractor:
    """The autoencoder of ``pictures-ae``, fitted to these pictures."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "weights.safetensors"
        path.write_bytes(train(native(images).to(torch.uint8), of=PicturesEncoder, move=slid, epochs=12))
        return PicturesAe(path)


def measure(world: str, faults: Iterable[Fault], *, fit: bool = False) -> dict[str, Any]:
    """Each view of every fault at every strength."""
    zoo = load_zoo()
    started = time.perf_counter()
    pool, reference = WORLDS[world](zoo)
    labels = clusters(pool)
    extractors: dict[str, Extractor] = {"pictures-ae": find_extractor("pictures-ae", zoo), "pixels": HalfPixels(pool)}
    views = (*VIEWS, *OF_SETS)
    if fit:
        extractors["fitted"], views = fitted_to(pool), (*views, FITTED)
    real = Dataset(world, "test", reference)
    scores = {view: scorer(view, real, extractors, zoo) for view in views}
    known = {view: extract(view, extractors[view.partition("@")[2]], pool, CPU) for view in views}
    measured: dict[str, Any] = {}
    generator = torch.Generator().manual_seed(SEED)
    sets = [torch.randperm(len(pool), generator=generator)[:N] for _ in range(DRAWS)]
    for view in views:
        drawn = [scores[view](known[view][rows]) for rows in sets]
        # Draws share pictures: the smaller the pool, the less they differ.
        sd = float(np.std(drawn, ddof=1)) / (1 - N / len(pool)) ** 0.5
        untouched = scores[view](known[view][torch.arange(N)])
        measured[view] = {"real": float(np.mean(drawn)), "sd": sd, "untouched": untouched}
    cells = []
    for fault in faults:
        if (fault.coloured and pool.shape[1] == 1) or (fault.placed and world == "photographs"):
            continue
        for strength in fault.strengths:
            images = fault.apply(pool, labels, N, strength, SEED)
            cell: dict[str, Any] = {"fault": fault.name, "strength": strength, "sds": {}}
            for view in views:
                if view in OF_SETS and fault.change:
                    continue
                value = scores[view](extract(view, extractors[view.partition("@")[2]], images, CPU))
                # The luck of the draw cancels out, except for faults of the set, which draw other pictures.
                base = measured[view]["untouched" if fault.change else "real"]
                cell["sds"][view] = (value - base) / measured[view]["sd"]
            cells.append(cell)
            print(world, fault.name, strength, *(f"{view} {sds:.1f}" for view, sds in cell["sds"].items()), flush=True)
    cells += copied_cells(extractors["pictures-ae"], pool, reference)
    digests = {name: one.digest for name, one in extractors.items() if name != "pixels"}
    seconds = round(time.perf_counter() - started)
    return {"shape": list(pool.shape[1:]), "extractors": digests, "views": measured, "cells": cells, "seconds": seconds}


def copied_cells(extractor: Extractor, pool: Tensor, reference: Tensor) -> list[dict[str, Any]]:
    """Held-out pictures of which some are replaced with copies of training pictures."""
    train, held_out = (extract("pictures-ae", extractor, images, CPU).values for images in (pool, reference))
    counted = memorised(held_out, train).double()
    real = float(counted.mean())
    deviation = (real * (1 - real) / len(counted)) ** 0.5
    cells = []
    for strength in COPIED:
        copies = round(strength * len(held_out))
        value = float(memorised(torch.cat([train[:copies], held_out[copies:]]), train).double().mean())
        cells.append({"fault": "memorised", "strength": strength, "sds": {MEMORISED: (value - real) / deviation}})
    return cells


def judged(world: Mapping[str, Any], view: str, names: Iterable[str]) -> tuple[int, int, list[str]]:
    """How many cells of these faults are ordered, of how many, and the others in words."""
    ordered, total, wrong = 0, 0, []
    for name in names:
        rows = [cell["sds"] for cell in world["cells"] if cell["fault"] == name]
        costs = [row[view if view in row else MEMORISED] for row in rows]
        if not costs:
            continue
        right = [costs[0] > 0, *(after > before for before, after in pairwise(costs))]
        ordered, total = ordered + sum(right), total + len(right)
        wrong += [f"{name} {number + 1}" for number, one in enumerate(right) if not one]
    return ordered, total, wrong


def seen(world: Mapping[str, Any], view: str, names: Iterable[str]) -> str:
    """How many of these faults a view sees at their second strength, of how many."""
    seconds = [[cell["sds"].get(view) for cell in world["cells"] if cell["fault"] == name][1:2] for name in names]
    costs = [cost for second in seconds for cost in second if cost is not None]
    return f"{sum(cost > 2 for cost in costs)}/{len(costs)}"


def table(outcome: Mapping[str, Any]) -> str:
    """In Markdown: the share of ordered cells by world and view."""
    halves = {half: [one.name for one in PICTURE_FAULTS if one.withheld == half] for half in (False, True)}
    halves[True].append("memorised")
    lines = [
        "| world | known faults | withheld | seen | seen in pixels | invisible changes |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, world in outcome["worlds"].items():
        shares = ["{}/{}".format(*judged(world, VIEWS[0], half)) for half in halves.values()]
        shares += [seen(world, view, [*halves[False], *halves[True]]) for view in VIEWS]
        unseen = [
            cell["sds"][VIEWS[0]]
            for fault in PICTURE_INVISIBLE
            for cell in world["cells"]
            if cell["fault"] == fault.name
        ]
        cost = ", ".join(f"{sds:.1f}" for sds in unseen)
        named = f"**{name}**" if name in WITHHELD else name
        lines.append(f"| {named} | {' | '.join(shares)} | {cost} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, or with --page write the table from the last outcome."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", action="append", choices=WORLDS, help="by default, all")
    parser.add_argument("--fit", action="store_true", help="also fit the autoencoder to the characters themselves")
    parser.add_argument("--out", type=Path, default=FILE, help="if given, no page is written")
    parser.add_argument("--page", action="store_true", help="only write the table in docs/metrics.md")
    args = parser.parse_args()
    outcome = json.loads(args.out.read_text(encoding="utf-8")) if args.out.exists() else {"worlds": {}}
    try:
        for world in () if args.page else args.world or WORLDS:
            fit = args.fit and world == "characters"
            measured = measure(world, (*PICTURE_FAULTS, *PICTURE_INVISIBLE), fit=fit)
            outcome["worlds"][world] = {**measured, "environment": environment(CPU)}
    except GanzooError as error:
        sys.exit(str(error))
    outcome["worlds"] = {world: outcome["worlds"][world] for world in WORLDS if world in outcome["worlds"]}
    outcome |= {"command": "python benchmarks/ruler_pictures.py --fit", "n": N, "seed": SEED}
    print(table(outcome))
    for name, world in outcome["worlds"].items():
        for view in (VIEWS[0], FITTED):
            if FITTED in world["views"]:
                ordered, total, wrong = judged(world, view, [*(one.name for one in PICTURE_FAULTS), "memorised"])
                print(f"{name}, {view}: {ordered} of {total}; not {', '.join(wrong)}")
    if not args.page:
        write_atomically(args.out, (json.dumps(outcome, indent=1, ensure_ascii=False) + "\n").encode())
    if args.out == FILE:
        write_atomically(PAGE, between_markers(PAGE.read_text("utf-8"), MARKS, table(outcome), str(PAGE)).encode())


if __name__ == "__main__":
    main()
