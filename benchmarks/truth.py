"""Is it true? Every metric against the true error of trained generators, on two worlds whose law is known.

    python benchmarks/truth.py make --folder FOLDER      # trains ten generators a world, twice sampled: half an hour
    python benchmarks/truth.py score --folder FOLDER     # reads and scores the samples; results/truth.json
    python benchmarks/truth.py report                    # docs/truth.md, from the committed file

Pictures of ``faces`` and ``characters`` show attributes that are drawn from a known law, so samples can be compared
with that law instead of with features. A reader, a small network with one head for each attribute, reads each sample as
a whole or not at all. It is fitted to pictures that no generator is trained on, sharp, spoiled, blended and shuffled,
and abstains below the confidence that all but ``ABSTAINS`` of held-out real pictures have.

Errors of the samples of a generator, all of them 0 in the law:

- unreadable: the share that the reader abstains from;
- attributes, pairs: the total variation distance between the shares of an attribute's values, or those of two, among
  read samples and in the law, averaged over the attributes or pairs of them;
- forbidden: the share of read samples with a pair of values that never occurs;
- dropped: the law's share of the pairs of values that occur less than ``DROPPED`` times as often as they should,
  averaged like pairs;
- variety lost: 1 - E / E_law, with E = 1 / P(two samples have the same values of all attributes), the effective number
  of combinations; negative if there are too many;
- copies: the share whose nearest training picture is so much nearer than the second nearest that this happens to only
  ``CHANCE`` of held-out real pictures;
- overall: pairs again, with unreadable as one more value. So it is 1 if nothing can be read, and is a distance between
  distributions; only copies are no part of it.

The excess of an error is that over as many held-out real pictures, read in the same way.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from hashlib import sha256
from itertools import combinations, permutations, product
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from PIL import Image, ImageDraw
from safetensors.torch import load, save
from scipy.stats import rankdata, spearmanr
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms.functional import gaussian_blur

import ganzoo
from ganzoo import Dataset, Extractor, Features, MetricInputs
from ganzoo.errors import GanzooError
from ganzoo.evaluation.features import Directions, RealImages, extract, variety
from ganzoo.evaluation.requests import find_extractor
from ganzoo.files import write_atomically
from ganzoo.registry.loading import load_zoo
from ganzoo.reproducibility import tensors_digest
from ganzoo.runs.provenance import environment
from ganzoo_plugins.datasets.worlds import CHARACTERS, FACES, World
from ganzoo_reports.templates import between_markers, markdown_table
from ruler_pictures import HalfPixels

RESULTS = Path(__file__).resolve().parent.parent / "results" / "truth.json"
PAGE = RESULTS.parent.parent / "docs" / "truth.md"
MARKERS = "<!-- truth: begin -->", "<!-- truth: end -->"
WORLDS = {world.name: world for world in (FACES, CHARACTERS)}
SIZE = 32
CPU = torch.device("cpu")

# --- the pictures -----------------------------------------------------------------------------------------------------

TRAIN, READER, REFERENCE, CALIBRATION, HELD_OUT = 6_000, 6_000, 2_000, 2_000, 6_000
"""Training pictures that generators are trained on, and those for the reader; test pictures that are the metrics'
reference, that set the reader's threshold, and that give every error's floor."""
SAMPLES = 4_000
"""Samples of a generator; the metrics see the first ``REFERENCE``."""
SHOWN_SAMPLES = 12


@dataclass(frozen=True)
class Pictures:
    """Pictures, uint8 (n, 3, SIZE, SIZE), and the values of their attributes, int64 (n, attributes)."""

    images: Tensor
    values: Tensor

    def __getitem__(self, rows: slice | Tensor) -> Pictures:
        return Pictures(self.images[rows], self.values[rows])


def drawn(world: World) -> dict[str, Pictures]:
    """The pictures of a world by their use; drawn in minutes, and then cached."""
    parts = {"train": {"train": TRAIN, "reader": READER}}
    parts["test"] = {"reference": REFERENCE, "calibration": CALIBRATION, "held out": HELD_OUT}
    found = {}
    for split, uses in (("train", parts["train"]), ("test", parts["test"])):
        n = sum(uses.values())
        dataset = world.load("train" if split == "train" else "test", n, SIZE)
        assert dataset.labels is not None
        every = Pictures(dataset.images, torch.stack([dataset.labels, *dataset.columns.values()], 1))
        for use, rows in zip(uses, torch.arange(n).split(list(uses.values())), strict=True):
            found[use] = every[rows]
    return found


# --- the generators ---------------------------------------------------------------------------------------------------

WATCHED = "fid@pictures-ae"
"""So that each run's health sees the variety of samples in the features of pictures-ae."""
SMALL = {"generator": {"name": "dcgan", "width": 32}, "discriminator": {"name": "dcgan", "width": 16, "norm": "none"}}
PLAIN = {
    "prior": {"name": "gaussian", "dim": 64},
    "networks": SMALL,
    "regularizers": [{"name": "r1", "weight": 1.0, "every_steps": 8}],
    "optimizers": {"default": {"name": "adam", "lr": 1e-3, "betas": [0.0, 0.99]}},
}


@dataclass(frozen=True)
class Training:
    """One training run, sampled at several lengths.

    Attributes:
        name: Its name.
        stages: A kind of generator by the number of images after which samples are drawn.
        changes: Of the recipe.
        recipe: The recipe of the zoo that it starts from.
        count: On how many pictures it is trained, the first ones.
        without: An attribute, by its index, and how many of its values, the last ones, are left out of the pictures.
        seed: The seed of the run.
    """

    name: str
    stages: Mapping[int, str]
    changes: Mapping[str, Any] = field(default_factory=lambda: PLAIN)
    recipe: str = "dcgan-mnist"
    count: int = TRAIN
    without: tuple[int, int] | None = None
    seed: int = 0

    @property
    def folder(self) -> str:
        """The name of its run folder."""
        return self.name.replace(",", "").replace(" ", "-")

    def pictures(self, world: World, train: Pictures) -> Pictures:
        """What it is trained on."""
        return (train if self.without is None else left_out(world, train, *self.without))[: self.count]


def left_out(world: World, pictures: Pictures, attribute: int, values: int) -> Pictures:
    """Pictures without the last so many values of an attribute, which is given by its index."""
    kept = world.weights.shape[attribute] - values
    return pictures[(pictures.values[:, attribute] < kept).nonzero()[:, 0]]


HAIR, BACKGROUND = 0, -1
ADAM = {"name": "adam", "lr": 1e-3}
HIGH_RATES = {
    "networks": {**SMALL, "discriminator": {"name": "dcgan", "width": 16}},
    "optimizers": {"default": {**ADAM, "lr": 4e-3, "betas": [0.0, 0.99]}},
}
COLLAPSING = {  # as in benchmarks/health.py
    "networks": {
        "generator": {"name": "mlp", "hidden": [64], "norm": "none"},
        "discriminator": {"name": "mlp", "hidden": [64]},
    },
    "optimizers": {"default": {**ADAM, "lr": 1e-2, "betas": [0.9, 0.99]}},
}
MLP = {
    "networks": {
        "generator": {"name": "mlp", "hidden": [128, 256, 512]},
        "discriminator": {"name": "mlp", "hidden": [256, 128]},
    },
    "optimizers": {"default": {**ADAM, "lr": 5e-4, "betas": [0.0, 0.99]}},
}
VAE = {
    "networks": {"generator": {"name": "infogan", "width": 16}, "encoder": {"name": "infogan", "width": 8}},
    "optimizers": {"default": ADAM},
}
TRAININGS = (
    Training("plain", {64: "untrained", 12_000: "short", 36_000: "long"}),
    Training("high rates", {3_000: "unstable", 10_000: "unstable"}, HIGH_RATES),
    Training("60 pictures", {8_000: "copying", 20_000: "copying"}, count=60),
    Training("few hairs", {8_000: "dropping", 20_000: "dropping"}, without=(HAIR, 3)),
    Training("VAE", {10_000: "blurry", 40_000: "blurry"}, VAE, "vae-mnist"),
    Training("MLP", {10_000: "noisy", 40_000: "noisy"}, MLP, "vanilla-mnist"),
    Training("300 pictures", {8_000: "copying", 20_000: "copying"}, count=300),
    Training("plain, seed 1", {5_000: "short", 20_000: "long"}, seed=1),
    Training("few backgrounds", {8_000: "dropping", 20_000: "dropping"}, without=(BACKGROUND, 2)),
    Training("momentum", {4_000: "collapsed", 16_000: "collapsed"}, COLLAPSING, "vanilla-mnist"),
)


def make(folder: Path) -> None:
    """Train what is missing, and keep samples; continues where it was interrupted."""
    train = {name: drawn(world)["train"] for name, world in WORLDS.items()}
    for training, world in product(TRAININGS, WORLDS.values()):
        run = folder / world.name / training.folder
        dataset = Dataset(world.name, "train", training.pictures(world, train[world.name]).images)
        for images in training.stages:
            samples = samples_path(folder, world, training, images)
            if samples.exists():
                continue
            settings = {"images": images, "device": "cpu", "threads": 1, "seed": training.seed}
            asked = {
                **training.changes,
                "train": {**settings, "batch_size": 32, "ema": 0.995},
                "evaluate": {"metrics": [WATCHED], "samples": 500, "every_images": max(training.stages) // 6},
            }
            recipe = ganzoo.recipe(training.recipe, **asked)
            where: dict[str, Any] = {"resume_from": run} if (run / "run.json").exists() else {"out": run}
            trained = ganzoo.train(recipe, dataset=dataset, **where)
            print(f"{world.name}, {training.name}: {images:,} images", flush=True)
            write_atomically(samples, save({"images": trained.sample(SAMPLES)}))


def samples_path(folder: Path, world: World, training: Training, images: int) -> Path:
    """Where the samples of one stage are kept."""
    return folder / world.name / f"{training.folder}-{images}.safetensors"


def constructed(world: World, parts: Mapping[str, Pictures]) -> dict[str, Callable[[], Pictures]]:
    """Sets of real pictures with one fault each, to show what the errors say where the truth is known exactly."""
    held, train = parts["held out"], parts["train"]
    unlinked = replace(world, factors={})
    return {
        "real pictures": lambda: held,
        "without some hairs": lambda: left_out(world, held, HAIR, 3),
        "independent attributes": lambda: Pictures(
            unlinked.draw("test", REFERENCE, SIZE), unlinked.draw_attributes("test", REFERENCE)[0]
        ),
        "training pictures": lambda: train[:SAMPLES],
        "one in four a training picture": lambda: Pictures(
            torch.cat([held.images[:1500], train.images[:500]]), torch.cat([held.values[:1500], train.values[:500]])
        ),
    }


# --- the reader -------------------------------------------------------------------------------------------------------

EPOCHS, BATCH = 14, 128
ABSTAINS, STRICT = 0.02, 0.1
"""The share of real pictures that the reader abstains from, and that of a stricter one, to see whether that matters."""


class Network(nn.Module):
    """A small convolutional network with a head of log probabilities for each attribute.

    Args:
        sizes: How many values each attribute has.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after, stride in ((3, 24, 1), (24, 48, 2), (48, 64, 2), (64, 96, 2)):
            layers += [nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()]
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Linear(96 * 16, 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, size) for size in sizes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Log probabilities (n, values) of each attribute, from float images (n, 3, SIZE, SIZE) from 0 to 1."""
        features = self.trunk(images - 0.5)
        return [F.log_softmax(head(features).float(), 1) for head in self.heads]


def spoiled(images: Tensor, generator: torch.Generator, amount: float = 1.0) -> Tensor:
    """Float images from 0 to 1, each batch shifted and blurred, each image shaded and noisy, up to an amount."""

    def uniform(*shape: int) -> Tensor:
        return amount * torch.rand(shape, generator=generator)

    right, down = (torch.randint(-2, 3, (2,), generator=generator) * amount).round().int().tolist()
    padded = F.pad(images, (2, 2, 2, 2), mode="replicate")
    moved = padded[:, :, 2 + down : 2 + down + SIZE, 2 + right : 2 + right + SIZE]
    blurred = gaussian_blur(moved, [7, 7], [0.05 + uniform(1).item()])
    n = len(images)
    shaded = blurred + 0.12 * (uniform(n, 3, 1, 1) - amount / 2)
    noise = 0.1 * uniform(n, 1, 1, 1).square() * torch.randn(images.shape, generator=generator)
    return (shaded + noise).clamp(0, 1)


def shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images cut into 16 squares in a random order: their colours are there, but they show nothing."""
    side = SIZE // 4
    squares = images.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)
    order = torch.randperm(16, generator=generator)
    rows = squares[:, :, order].unflatten(2, (4, 4))
    return rows.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def fit(pictures: Pictures, sizes: Sequence[int], *, robust: bool, epochs: int = EPOCHS) -> Network:
    """Fit a network to pictures; ``robust`` ones see spoiled, blended and shuffled pictures, others only shifts.

    A blend of two pictures has the values of both, in its proportion; in a shuffled one, all are equally likely.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    network = Network(sizes).to(memory_format=torch.channels_last)
    steps = epochs * (len(pictures.images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    targets = [F.one_hot(pictures.values[:, index], size).float() for index, size in enumerate(sizes)]
    blends, shuffles = (BATCH // 4, BATCH // 8) if robust else (0, 0)
    for step in range(steps):
        rows = torch.randint(len(pictures.images), (BATCH,), generator=generator)
        images = pictures.images[rows].float() / 255
        wanted = [target[rows] for target in targets]
        if robust:
            share = torch.rand(blends, 1, generator=generator)
            images[:blends] = torch.lerp(images[blends : 2 * blends], images[:blends], share[..., None, None])
            images[-shuffles:] = shuffled(images[-shuffles:], generator)
            for target in wanted:
                target[:blends] = torch.lerp(target[blends : 2 * blends], target[:blends], share)
                target[-shuffles:] = 1 / target.shape[1]
        images = spoiled(images, generator, amount=1.0 if robust else 0.0)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(images)
        loss = torch.stack([-(a * b).sum(1).mean() for a, b in zip(wanted, predicted, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}", flush=True)
    return network.eval()


def fitted(folder: Path, name: str, pictures: Pictures, sizes: Sequence[int], *, robust: bool) -> Network:
    """A fitted network, kept in a folder."""
    path = folder / f"{name}.safetensors"
    if path.exists():
        network = Network(sizes)
        network.load_state_dict(load(path.read_bytes()))
        return network.eval()
    network = fit(pictures, sizes, robust=robust, epochs=EPOCHS if robust else EPOCHS // 2)
    write_atomically(path, save({key: value.contiguous() for key, value in network.state_dict().items()}))
    return network


@dataclass(frozen=True)
class Reader:
    """Reads the attributes of a picture, or abstains.

    Attributes:
        network: A fitted network.
        least: The log probability that a reading, the likeliest value of every attribute, needs.
    """

    network: Network
    least: float = -math.inf

    @torch.no_grad()
    def confident(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The likeliest values (n, attributes) of images, uint8 (n, 3, SIZE, SIZE), and their log probability (n,)."""
        values, sums = [], []
        for batch in images.split(500):
            best = [head.max(1) for head in self.network(batch.float() / 255)]
            values.append(torch.stack([one.indices for one in best], 1))
            sums.append(torch.stack([one.values for one in best]).sum(0))
        return torch.cat(values), torch.cat(sums)

    def calibrated(self, pictures: Pictures, abstains: float) -> Reader:
        """A reader that abstains from this share of these pictures."""
        return Reader(self.network, self.confident(pictures.images)[1].quantile(abstains).item())

    def read(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """The values (n, attributes), and which of the n images they could be read from."""
        values, confidence = self.confident(images)
        return values, confidence >= self.least


def own_error(reader: Reader, world: World, held_out: Pictures, other_world: Tensor) -> dict[str, Any]:
    """What the reader abstains from and gets wrong, on pictures that it never saw: sharp, spoiled, and no pictures."""
    generator = torch.Generator().manual_seed(1)
    some = held_out[:2_000]
    batches = (some.images.float() / 255).split(50)
    rough = torch.cat([spoiled(batch, generator) for batch in batches]).mul(255).round().to(torch.uint8)
    shown = {
        "real": held_out.images,
        "spoiled": rough,
        "the other world": other_world[:2_000],
        "noise": torch.randint(256, rough.shape, generator=generator, dtype=torch.uint8),
        "upside down": some.images.flip(2),
        "means of two": some.images[:-1] // 2 + some.images[1:] // 2,
    }
    abstained, wrong = {}, {}
    for name, images in shown.items():
        values, read = reader.read(images)
        abstained[name] = 1 - read.double().mean().item()
        if name in ("real", "spoiled"):
            misread = (values != held_out.values[: len(values)])[read].double().mean(0).tolist()
            wrong[name] = dict(zip(world.attributes, misread, strict=True))
    return {"abstained": abstained, "wrong": wrong}


# --- the truth --------------------------------------------------------------------------------------------------------

DROPPED, LEAST, CHANCE = 0.1, 200, 0.005
"""``LEAST`` samples must be read for errors of the read ones."""
OF_READ = ("attributes", "pairs", "forbidden", "dropped", "variety lost")
ERRORS = ("overall", "unreadable", *OF_READ, "copies")


def errors(world: World, values: Tensor, read: Tensor) -> dict[str, float]:
    """The errors of n samples, but copies; those of read samples only if ``LEAST`` are read.

    Args:
        world: The law.
        values: int64 (n, attributes).
        read: Which of them could be read, (n,) bool.
    """
    names, sizes = list(world.attributes), world.weights.shape
    unreadable = 1 - read.double().mean().item()
    seen, m = values[read], int(read.sum())

    def shares(*axes: int) -> Tensor:
        width = [sizes[axis] for axis in axes]
        cells = torch.zeros(m, dtype=torch.int64)
        for axis in axes:
            cells = cells * sizes[axis] + seen[:, axis]
        return cells.bincount(minlength=math.prod(width)).double().view(width) / max(m, 1)

    two = [(shares(*axes), law) for axes, law in pair_laws(world.name).items()]
    with_unreadable = [unreadable + ((1 - unreadable) * q - p).abs().sum() for q, p in two]
    found = {"overall": float(torch.tensor(with_unreadable).mean()) / 2, "unreadable": unreadable}
    if m < LEAST:
        return found
    one = [(shares(i) - world.probabilities(name)).abs().sum() / 2 for i, name in enumerate(names)]
    found["attributes"] = float(torch.stack(one).mean())
    found["pairs"] = float(torch.stack([(q - p).abs().sum() / 2 for q, p in two]).mean())
    never = torch.zeros(m, dtype=torch.bool)
    for first, a, second, b in world.forbidden:
        sides = [
            seen[:, names.index(n)] == list(world.attributes[n].values).index(v) for n, v in ((first, a), (second, b))
        ]
        never |= sides[0] & sides[1]
    found["forbidden"] = never.double().mean().item()
    found["dropped"] = float(torch.stack([p[q < DROPPED * p].sum() for q, p in two]).mean())
    counts = seen.unique(dim=0, return_counts=True)[1].double()
    same = max(float((counts * (counts - 1)).sum()), 1.0) / (m * (m - 1))
    law = world.weights.double().flatten() / world.weights.sum()
    found["variety lost"] = 1 - float(law.square().sum()) / same
    return found


@cache
def pair_laws(world: str) -> dict[tuple[int, int], Tensor]:
    """The joint law of each two attributes of a world, by their indices."""
    names = list(WORLDS[world].attributes)
    return {(i, j): WORLDS[world].probabilities(names[i], names[j]) for i, j in combinations(range(len(names)), 2)}


def floors(world: World, values: Tensor, read: Tensor, n: int, m: int) -> dict[str, float]:
    """The errors of held-out real pictures, as means over ten draws: n of them, and of those that are read m."""
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(10):
        some = torch.randperm(len(values), generator=generator)[:n]
        every = errors(world, values[some], read[some])
        legible = read.nonzero()[:, 0]
        few = legible[torch.randperm(len(legible), generator=generator)[:m]]
        draws.append({**errors(world, values[few], read[few]), **{k: every[k] for k in ("overall", "unreadable")}})
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def nearness(images: Tensor, train: Tensor) -> Tensor:
    """How near the nearest training picture is in relation to the second nearest, (n,) from 0 to 1, in 2x2 means."""
    points, among = (F.avg_pool2d(some.float() / 255, 2).flatten(1) for some in (images, train))
    nearest = [torch.cdist(batch, among).topk(2, largest=False).values for batch in points.split(500)]
    both = torch.cat(nearest)
    return both[:, 0] / both[:, 1].clamp(min=1e-6)


# --- the metrics ------------------------------------------------------------------------------------------------------

NEIGHBOURS = ("precision", "recall", "density", "coverage", "memorisation")
VIEWS = (
    *(f"{metric}@pictures-ae" for metric in ("fid", "fid-infinity", "kid", *NEIGHBOURS, "variety")),
    *(f"{metric}@pixels" for metric in ("fid", *NEIGHBOURS, "variety")),
    *(f"{metric}@hair-cnn" for metric in ("fid", "is", "class-coverage", "class-entropy", "coverage", "recall")),
)
"""``variety`` is what health looks at: the share of the variance of real pictures that so many samples have."""
WATCHED_SAMPLES = 500


class HairCnn(Extractor):
    """The features and classes of an ordinary classifier of a world's labels, the hair.

    Args:
        network: Fitted with one head.
    """

    shape, width = (3, SIZE, SIZE), 128

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.classes = network.heads[0].out_features  # type: ignore[misc, assignment]

    @property
    def digest(self) -> str:
        """Of the weights."""
        return tensors_digest(sorted(self.network.state_dict().items()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 128) and logits of images, uint8 (n, 3, SIZE, SIZE)."""
        features = self.network.trunk(images.float() / 255 - 0.5)
        return features, self.network.heads[0](features)


class Scorer:
    """Scores samples by every view.

    Args:
        world: The world.
        parts: Its pictures.
        network: Of the extractor ``hair-cnn``.
    """

    def __init__(self, world: World, parts: Mapping[str, Pictures], network: Network) -> None:
        self.zoo = load_zoo()
        self.world, reference = world, Dataset(world.name, "test", parts["reference"].images)
        pixels = HalfPixels(parts["train"].images)
        pixels.digest = sha256(parts["train"].images.numpy().tobytes()).hexdigest()
        self.extractors: dict[str, Extractor] = {
            "pictures-ae": find_extractor("pictures-ae", self.zoo),
            "pixels": pixels,
            "hair-cnn": HairCnn(network),
        }
        self.reals = {name: RealImages(reference, {}, name, one, CPU) for name, one in self.extractors.items()}
        self.directions = {name: Directions.of(self.reals[name].features.values) for name in ("pictures-ae", "pixels")}

    def scores(self, images: Tensor, train: Tensor) -> dict[str, float]:
        """Every view of images; ``train`` has those that their generator was trained on."""
        found: dict[str, float] = {}
        for name, extractor in self.extractors.items():
            fake = extract(name, extractor, images, CPU)
            real = self.reals[name]
            training = RealImages(Dataset(self.world.name, "train", train), {}, name, extractor, CPU)
            inputs = MetricInputs(len(fake), lambda fake=fake: fake, None, real, lambda t=training: t)  # type: ignore[misc]
            for view in (view for view in VIEWS if view.endswith(f"@{name}")):
                metric = view.partition("@")[0]
                if metric == "kid":
                    found[view] = kernel_distance(fake.values.double(), real.features.values.double())
                elif metric == "variety":
                    first = Features(fake.values[:WATCHED_SAMPLES])
                    found[view] = variety(first, self.directions[name])["spread"]
                else:
                    found[view] = self.zoo.metrics.get(metric).create().compute(inputs)
        return found


def kernel_distance(fake: Tensor, real: Tensor) -> float:
    """What ``kid`` estimates, from all images instead of a hundred subsets, which take a hundred times as long."""

    def kernel(one: Tensor, other: Tensor) -> Tensor:
        return (one @ other.T / one.shape[1] + 1) ** 3

    def among(some: Tensor) -> Tensor:
        values = kernel(some, some)
        return (values.sum() - values.trace()) / (len(some) * (len(some) - 1))

    return float(among(fake) + among(real) - 2 * kernel(fake, real).mean())


@dataclass(frozen=True)
class Set:
    """Samples or real pictures that are judged.

    Attributes:
        images: uint8 (n, 3, SIZE, SIZE).
        train: What their generator was trained on.
        exact: The values of their attributes (n, attributes), if they are known.
    """

    images: Tensor
    train: Tensor
    exact: Tensor | None = None

    @classmethod
    def of(cls, made: Callable[[], Pictures], train: Pictures) -> Set:
        """Real pictures."""
        pictures = made()
        return cls(pictures.images, train.images, pictures.values)


class Judge:
    """Measures the errors and the scores of sets of a world.

    Args:
        folder: Where fitted networks are kept.
        world: The world.
        parts: Its pictures.
    """

    def __init__(self, folder: Path, world: World, parts: Mapping[str, Pictures]) -> None:
        sizes = list(world.weights.shape)
        network = fitted(folder, f"reader-{world.name}", parts["reader"], sizes, robust=True)
        classifier = fitted(folder, f"hair-cnn-{world.name}", parts["reader"], sizes[:1], robust=False)
        self.world, self.held = world, parts["held out"]
        self.reader, self.strict = (
            Reader(network).calibrated(parts["calibration"], share) for share in (ABSTAINS, STRICT)
        )
        self.scorer, self.real = Scorer(world, parts, classifier), self.reader.read(self.held.images)

    def judged(self, made: Callable[[], Set]) -> dict[str, Any]:
        """A set's errors, those of real pictures, and its scores, as JSON."""
        one = made()
        values, confidence = self.reader.confident(one.images)
        read = confidence >= self.reader.least
        limit = nearness(self.held.images[:REFERENCE], one.train).quantile(CHANCE)
        copies = (nearness(one.images[:REFERENCE], one.train) < limit).double().mean().item()
        every = torch.ones(len(values), dtype=torch.bool)
        return {
            "errors": {**errors(self.world, values, read), "copies": copies},
            "floors": {**floors(self.world, *self.real, len(values), int(read.sum())), "copies": CHANCE},
            "overall if strict": errors(self.world, values, confidence >= self.strict.least)["overall"],
            **({} if one.exact is None else {"exact": errors(self.world, one.exact, every)}),
            "scores": self.scorer.scores(one.images[:REFERENCE], one.train),
        }


def score(folder: Path) -> dict[str, Any]:
    """Read and score all samples; continues where it was interrupted."""
    torch.set_num_threads(1)
    worlds = {name: drawn(world) for name, world in WORLDS.items()}
    outcome: dict[str, Any] = {"command": "python benchmarks/truth.py score", "environment": environment(CPU)}
    outcome |= {"samples": SAMPLES, "reference": REFERENCE, "worlds": {}}
    for name, world in WORLDS.items():
        judge = Judge(folder, world, worlds[name])
        (other,) = (one["held out"].images for key, one in worlds.items() if key != name)
        facts = kept(folder / name / "reader.json", partial(own_error, judge.reader, world, judge.held, other))
        rows = []
        for path, row, made in sets(folder, world, worlds[name]):
            rows.append({**row, **kept(path, partial(judge.judged, made))})
            print(name, row["name"], json.dumps(rows[-1]["errors"]), flush=True)
        outcome["worlds"][name] = {"reader": facts, "sets": rows}
    draw_samples(folder, RESULTS.with_suffix(".webp"))
    return outcome


def kept(path: Path, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """What was measured, from its file if there is one."""
    if not path.exists():
        write_atomically(path, json.dumps(measure()).encode())
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def draw_samples(folder: Path, path: Path) -> None:
    """A picture with a row of samples of each generator, both worlds side by side."""
    stages = [(training, images) for training in TRAININGS for images in training.stages]
    sheet = Image.new("RGB", (130 + SHOWN_SAMPLES * SIZE * len(WORLDS), SIZE * len(stages)), "white")
    for row, (training, images) in enumerate(stages):
        ImageDraw.Draw(sheet).text((2, row * SIZE + 10), f"{training.name}, {images:,}", fill="black")
        for column, world in enumerate(WORLDS.values()):
            samples = load(samples_path(folder, world, training, images).read_bytes())["images"][:SHOWN_SAMPLES]
            line = Image.fromarray(samples.permute(2, 0, 3, 1).flatten(1, 2).numpy())
            sheet.paste(line, (130 + column * SHOWN_SAMPLES * SIZE, row * SIZE))
    sheet.save(path, quality=80)


def sets(
    folder: Path, world: World, parts: Mapping[str, Pictures]
) -> Iterator[tuple[Path, dict[str, Any], Callable[[], Set]]]:
    """Where each set's measurements are kept, what it is, and a function that returns it."""
    for number, (name, made) in enumerate(constructed(world, parts).items()):
        row = {"name": name, "kind": "constructed", "training": None}
        path = folder / world.name / f"constructed-{number}.json"
        yield path, row, partial(Set.of, made, parts["train"])
    for training in TRAININGS:
        pictures = training.pictures(world, parts["train"]).images
        for images, kind in training.stages.items():
            path = samples_path(folder, world, training, images)
            if not path.exists():
                raise GanzooError(f"{path} does not exist.", "Run `make` with this folder first.")
            row = {"name": f"{training.name}, {images:,} images", "kind": kind, "training": training.name}
            samples = load(path.read_bytes())["images"]
            yield path.with_suffix(".json"), row, partial(Set, samples, pictures)


# --- what follows -----------------------------------------------------------------------------------------------------

RESAMPLES, MARGIN = 2_000, 0.05
"""Resamples of trainings for an interval; the difference between two errors that is clear."""
ALL, READABLE = ("overall", "unreadable", "copies"), ("overall", *OF_READ, "copies")


def trained(outcome: Mapping[str, Any], world: str, readable: bool = False) -> list[dict[str, Any]]:
    """The rows of trained generators; ``readable``: those of whose samples at least half could be read."""
    rows = [row for row in outcome["worlds"][world]["sets"] if row["training"] is not None]
    return [row for row in rows if row["errors"]["unreadable"] <= 0.5] if readable else rows


def excess(row: Mapping[str, Any], error: str) -> float:
    """By how much an error exceeds that of real pictures."""
    return float(row["errors"][error] - row["floors"][error])


def merit(outcome: Mapping[str, Any], world: str, row: Mapping[str, Any], view: str) -> float:
    """How good a view says that a set is: higher is better."""
    value, metric = float(row["scores"][view]), view.partition("@")[0]
    if metric == "class-entropy":  # real pictures are best
        real = next(one for one in outcome["worlds"][world]["sets"] if one["name"] == "real pictures")
        return -abs(value - float(real["scores"][view]))
    return -value if metric in ("fid", "fid-infinity", "kid", "memorisation") else value


def correlations(outcome: Mapping[str, Any], readable: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Spearman's correlation of each view's order with that of each error's excess, by view and error.

    Returns:
        ``value``, the mean over the worlds, and ``low`` and ``high``, its 95% interval from resampling trainings, the
        same in both worlds: two lengths of one training are not independent, nor is the same recipe in two worlds. And
        the value in each world.
    """
    names = READABLE if readable else ALL
    every = list(dict.fromkeys(row["training"] for world in outcome["worlds"] for row in trained(outcome, world)))
    draws = np.random.default_rng(0).choice(every, size=(RESAMPLES, len(every)))
    values, resampled = [], []
    for world in outcome["worlds"]:
        rows = trained(outcome, world, readable)
        table = np.array(
            [[merit(outcome, world, row, view) for view in VIEWS] + [-excess(row, e) for e in names] for row in rows]
        )
        places = {name: [i for i, row in enumerate(rows) if row["training"] == name] for name in every}
        chosen = [np.array([i for name in draw for i in places[name]], dtype=np.intp) for draw in draws]
        values.append(rank_correlations(table))
        resampled.append([rank_correlations(table[some]) for some in chosen])
    value = np.mean(values, 0)
    low, high = np.nanpercentile(np.mean(resampled, 0), [2.5, 97.5], axis=0)
    return {
        view: {
            error: {
                "value": float(value[i, j]),
                "low": float(low[i, j]),
                "high": float(high[i, j]),
                **{world: float(one[i, j]) for world, one in zip(outcome["worlds"], values, strict=True)},
            }
            for j, error in enumerate(names)
        }
        for i, view in enumerate(VIEWS)
    }


def rank_correlations(table: np.ndarray) -> np.ndarray:
    """Spearman's correlations of the first columns, ``VIEWS``, with the others; NaN for a constant or two rows."""
    if len(table) < 3:
        return np.full((len(VIEWS), table.shape[1] - len(VIEWS)), np.nan)
    ranks = rankdata(table, axis=0)
    ranks -= ranks.mean(0)
    lengths = np.sqrt((ranks**2).sum(0))
    lengths[lengths == 0] = np.nan
    return (ranks[:, : len(VIEWS)].T @ ranks[:, len(VIEWS) :]) / np.outer(lengths[: len(VIEWS)], lengths[len(VIEWS) :])


def clearly_worse(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a set is clearly worse than another, overall or in copies, and in neither clearly better."""
    gaps = [excess(one, error) - excess(other, error) for error in ("overall", "copies")]
    return max(gaps) > MARGIN and min(gaps) >= -MARGIN


def if_strict(outcome: Mapping[str, Any]) -> float:
    """Spearman's correlation of the overall errors with those of the stricter reader, the lower of both worlds."""
    both = [
        [(row["errors"]["overall"], row["overall if strict"]) for row in trained(outcome, w)] for w in outcome["worlds"]
    ]
    return min(float(spearmanr(*zip(*pairs, strict=True)).statistic) for pairs in both)


def lies(outcome: Mapping[str, Any], view: str) -> tuple[int, int, dict[tuple[str, str], tuple[int, int]]]:
    """Pairs of sets, one clearly worse than the other, of which a view ranks the worse one higher.

    Returns:
        Their number, that of all pairs, and both by the kinds of the worse and the better set.
    """
    counts: dict[tuple[str, str], tuple[int, int]] = {}
    for world in outcome["worlds"]:
        rows = trained(outcome, world)
        merits = [merit(outcome, world, row, view) for row in rows]
        for (one, high), (other, low) in permutations(zip(rows, merits, strict=True), 2):
            if clearly_worse(one, other):
                wrong, total = counts.get((one["kind"], other["kind"]), (0, 0))
                counts[one["kind"], other["kind"]] = (wrong + (high > low), total + 1)
    return sum(wrong for wrong, _ in counts.values()), sum(total for _, total in counts.values()), counts


# --- the report -------------------------------------------------------------------------------------------------------

SHOWN = (
    *(f"{metric}@pictures-ae" for metric in ("fid", "kid", *NEIGHBOURS, "variety")),
    *("fid@pixels", "fid@hair-cnn", "is@hair-cnn", "class-coverage@hair-cnn"),
)
"""The views of the page; results/truth.md has all of them."""


def lies_table(outcome: Mapping[str, Any], views: Sequence[str]) -> str:
    """In Markdown: how often each view misleads, and about which kinds of generators in most of their pairs."""
    rows = []
    for view in views:
        wrong, total, by_kinds = lies(outcome, view)
        often = sorted(((n, of, kinds) for kinds, (n, of) in by_kinds.items() if 2 * n > of), reverse=True)
        said = "; ".join(f"{worse} over {better}, {n} of {of}" for n, of, (worse, better) in often)
        rows.append([f"`{view}`", f"{wrong / total:.0%}", said])
    return markdown_table({"view": "left", "wrong": "right", "prefers": "left"}, rows)


def correlations_table(outcome: Mapping[str, Any], readable: bool) -> str:
    """In Markdown: each view's rank correlation with each error, and its interval."""
    found = correlations(outcome, readable)
    names = READABLE if readable else ALL
    rows = [
        [f"`{view}`", *(f"{of[e]['value']:.2f} ({of[e]['low']:.2f} to {of[e]['high']:.2f})" for e in names)]
        for view, of in found.items()
    ]
    return markdown_table({"view": "left", **dict.fromkeys(names, "right")}, rows)


def errors_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: the errors of each set, and behind them those of as many real pictures."""
    lines = [
        [
            *(row["name"], row["kind"]),
            *(f"{row['errors'][e]:.3f} ({row['floors'][e]:.3f})" if e in row["errors"] else "" for e in ERRORS),
        ]
        for row in rows
    ]
    return markdown_table({"samples": "left", "kind": "left", **dict.fromkeys(ERRORS, "right")}, lines)


def reader_table(facts: Mapping[str, Any]) -> str:
    """In Markdown: what the reader abstains from, and what it gets wrong of what it reads."""
    names = list(facts["wrong"]["real"])
    rows = [
        [name, f"{share:.1%}", *(f"{facts['wrong'][name][one]:.1%}" if name in facts["wrong"] else "" for one in names)]
        for name, share in facts["abstained"].items()
    ]
    return markdown_table({"pictures": "left", "abstains": "right", **dict.fromkeys(names, "right")}, rows)


def exact_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """In Markdown: the errors of sets of real pictures by their known values, and behind them as they were read."""
    names = ("overall", *OF_READ)
    lines = [
        [
            row["name"],
            *(f"{row['exact'][e]:.3f} ({row['errors'][e]:.3f})" for e in names),
            f"({row['errors']['copies']:.3f})",
        ]
        for row in rows
        if "exact" in row
    ]
    return markdown_table({"set": "left", **dict.fromkeys((*names, "copies"), "right")}, lines)


def everything(outcome: Mapping[str, Any]) -> str:
    """The page in results/."""
    parts = [
        "# Every metric against the truth",
        f"Made by `{outcome['command']}` with {outcome['samples']:,} samples of each generator; metrics see "
        f"{outcome['reference']:,} of them, and as many test pictures. "
        "[The script](../benchmarks/truth.py) defines every error.",
    ]
    for world, of in outcome["worlds"].items():
        parts += [f"## {world}: the reader", "Attributes: share of values that are wrong where it reads."]
        parts += [reader_table(of["reader"]), f"## {world}: the errors", "In brackets: as many real pictures."]
        parts += [errors_table(of["sets"]), "Constructed sets: exactly, and in brackets as read."]
        parts += [exact_table(of["sets"])]
    parts += [f"With a reader that abstains earlier, the order overall hardly changes: {if_strict(outcome):.3f}."]
    parts += ["## Rank correlations of all sets", "Mean of the worlds, and 95% interval over trainings."]
    parts += [correlations_table(outcome, readable=False), "## Rank correlations of sets at least half readable"]
    parts += [correlations_table(outcome, readable=True), "## Pairs in which a view prefers the clearly worse set"]
    return "\n\n".join([*parts, lies_table(outcome, VIEWS)]) + "\n"


def plot(outcome: Mapping[str, Any], path: Path) -> None:
    """Each view's rank correlation with three errors."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    panels = (("overall", False), ("overall", True), ("copies", False))
    figure, axes = plt.subplots(1, 3, figsize=(12, 6), sharey=True)
    for axis, (error, readable) in zip(axes, panels, strict=True):
        found = correlations(outcome, readable)
        for place, view in enumerate(reversed(VIEWS)):
            of = found[view][error]
            axis.plot([of["low"], of["high"]], [place, place], color="0.6")
            axis.plot(of["value"], place, "o", color="black", markersize=4)
        axis.axvline(0, color="0.8", linewidth=0.8)
        axis.set(title=f"{error}, {'readable sets' if readable else 'all sets'}", xlim=(-1.05, 1.05))
        axis.set_yticks(range(len(VIEWS)), reversed(VIEWS))
    figure.supxlabel("rank correlation with the truth, and its interval over trainings")
    figure.tight_layout()
    with mpl.rc_context({"svg.hashsalt": "ganzoo"}):
        figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)


def report() -> None:
    """Write the pages and the plot from the committed outcome."""
    outcome = json.loads(RESULTS.read_text("utf-8"))
    write_atomically(RESULTS.with_suffix(".md"), everything(outcome).encode())
    plot(outcome, RESULTS.with_suffix(".svg"))
    table = lies_table(outcome, SHOWN)
    write_atomically(PAGE, between_markers(PAGE.read_text("utf-8"), MARKERS, table, str(PAGE)).encode())
    print(table)


def main() -> None:
    """Run one of the steps."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("step", choices=["make", "score", "report"])
    parser.add_argument("--folder", type=Path, help="where runs and samples are")
    args = parser.parse_args()
    if args.step == "report":
        report()
    elif args.folder is None:
        parser.error("--folder is missing")
    else:
        try:
            if args.step == "make":
                make(args.folder)
            else:
                outcome = score(args.folder)
                write_atomically(RESULTS, (json.dumps(outcome, indent=1) + "\n").encode())
        except GanzooError as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
