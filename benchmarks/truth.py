"""Is it true? Every metric against the true error of trained generators, on two worlds whose law is known.

    python benchmarks/truth.py make --folder FOLDER      # trains twelve generators a world, and samples them: an hour
    python benchmarks/truth.py score --folder FOLDER     # reads and scores the samples; results/truth.json
    python benchmarks/truth.py report                    # docs/truth.md, from the committed file

Pictures of ``faces`` and ``characters`` show attributes that are drawn from a known law, so samples can be compared
with that law instead of with features. A reader, a small network with one head for each attribute, reads the attributes
of a sample one by one, and abstains from each whose likeliest value has a probability below ``SURE``. It is fitted to
pictures that no generator is trained on: sharp, spoiled, blended and shuffled.

Errors of the samples of a generator, all of them 0 in the law:

- unreadable: the share of attributes that the reader abstains from;
- attributes, pairs: the total variation distance between the shares of an attribute's values, or those of two, among
  the samples in which they are read and in the law, averaged over the attributes or pairs of them;
- forbidden: how many pairs of values that never occur a sample has, each counted where both attributes are read;
- dropped: the law's share of the pairs of values that occur less than ``DROPPED`` times as often as they should,
  averaged like pairs;
- variety lost: 1 - E / E_law, averaged like pairs, with E = 1 / P(two samples have the same values of both attributes),
  the effective number of pairs of values; negative if there are too many;
- copies: the share whose nearest training picture is so much nearer than the second nearest that this happens to only
  ``CHANCE`` of held-out real pictures, less those that do by chance;
- overall: pairs, with unreadable as one more value. So it is 1 if nothing can be read, and is a distance between
  distributions; only copies are no part of it.

The excess of an error is that over as many held-out real pictures, read in the same way.
"""

from __future__ import annotations

import argparse
import json
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
from ganzoo import Dataset, Extractor, Features, MetricInputs, Split
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

TRAIN, READER, REFERENCE, HELD_OUT = 6_000, 6_000, 2_000, 8_000
"""Training pictures that generators are trained on, and those for the reader; test pictures that are the metrics'
reference, and those that give every error's floor."""
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
    found = {}
    uses: dict[Split, dict[str, int]] = {
        "train": {"train": TRAIN, "reader": READER},
        "test": {"reference": REFERENCE, "held out": HELD_OUT},
    }
    for split, counts in uses.items():
        dataset = world.load(split, sum(counts.values()), SIZE)
        assert dataset.labels is not None
        every = Pictures(dataset.images, torch.stack([dataset.labels, *dataset.columns.values()], 1))
        for use, rows in zip(counts, torch.arange(len(dataset)).split(list(counts.values())), strict=True):
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
    Training("60 pictures", {8_000: "few pictures", 20_000: "few pictures"}, count=60),
    Training("few hairs", {8_000: "dropping", 20_000: "dropping"}, without=(HAIR, 3)),
    Training("VAE", {10_000: "blurry", 40_000: "blurry"}, VAE, "vae-mnist"),
    Training("MLP", {10_000: "noisy", 40_000: "noisy"}, MLP, "vanilla-mnist"),
    Training("300 pictures", {8_000: "few pictures", 20_000: "few pictures"}, count=300),
    Training("plain, seed 1", {5_000: "short", 20_000: "long"}, seed=1),
    Training("few backgrounds", {8_000: "dropping", 20_000: "dropping"}, without=(BACKGROUND, 2)),
    Training("VAE, 60 pictures", {10_000: "few pictures", 40_000: "few pictures"}, VAE, "vae-mnist", count=60),
    Training("16 pictures", {8_000: "copying", 20_000: "copying"}, count=16),
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


def constructed(world: World, parts: Mapping[str, Pictures]) -> Iterator[tuple[str, Pictures]]:
    """Sets of real pictures with one fault each, to show what the errors say where the truth is known exactly."""
    held, train, unlinked = parts["held out"], parts["train"], replace(world, factors={})
    yield "real pictures", held
    yield "without some hairs", left_out(world, held, HAIR, 3)
    independent = unlinked.draw_attributes("test", REFERENCE)[0]
    yield "independent attributes", Pictures(unlinked.draw("test", REFERENCE, SIZE), independent)
    yield "training pictures", train[:SAMPLES]
    images = torch.cat([held.images[:1500], train.images[:500]])
    yield "one in four a training picture", Pictures(images, torch.cat([held.values[:1500], train.values[:500]]))


# --- the reader -------------------------------------------------------------------------------------------------------

EPOCHS, BATCH = 14, 128
SURE, OTHERS = 0.9, (0.5, 0.99)
"""The probability that the reader needs to read a value, and others, to see whether that matters."""


class Network(nn.Module):
    """A small convolutional network with a head of log probabilities for each attribute, with so many values."""

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


def spoiled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Float images from 0 to 1, each batch shifted and blurred, each image shaded and noisy."""
    right, down = torch.randint(5, (2,), generator=generator).tolist()
    moved = F.pad(images, (2, 2, 2, 2), mode="replicate")[:, :, down : down + SIZE, right : right + SIZE]
    blurred = gaussian_blur(moved, [7, 7], [0.05 + torch.rand((), generator=generator).item()])
    shades = 0.12 * torch.rand(len(images), 3, 1, 1, generator=generator) - 0.06
    levels = 0.1 * torch.rand(len(images), 1, 1, 1, generator=generator).square()
    noise = levels * torch.randn(images.shape, generator=generator)
    return (blurred + shades + noise).clamp(0, 1)


def shuffled(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images cut into 16 squares in a random order: their colours are there, but they show nothing."""
    side = SIZE // 4
    squares = images.unfold(2, side, side).unfold(3, side, side).flatten(2, 3)
    order = torch.randperm(16, generator=generator)
    rows = squares[:, :, order].unflatten(2, (4, 4))
    return rows.permute(0, 1, 2, 4, 3, 5).reshape(images.shape)


def fit(pictures: Pictures, sizes: Sequence[int], *, robust: bool, seed: int = 0, epochs: int = EPOCHS) -> Network:
    """Fit a network to pictures; ``robust`` ones see spoiled, blended and shuffled ones too.

    A blend of two pictures has the values of both, in its proportion; in a shuffled one, all are equally likely.
    """
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(sizes).to(memory_format=torch.channels_last)
    steps = epochs * (len(pictures.images) // BATCH)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, steps)
    targets = [F.one_hot(pictures.values[:, index], size).float() for index, size in enumerate(sizes)]
    blends, shuffles = BATCH // 4, BATCH // 8
    for _ in range(steps):
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
            images = spoiled(images, generator)
        with torch.autocast("cpu", torch.bfloat16):
            predicted = network(images)
        loss = torch.stack([-(a * b).sum(1).mean() for a, b in zip(wanted, predicted, strict=True)]).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.eval()


def fitted(
    folder: Path, name: str, pictures: Pictures, sizes: Sequence[int], *, robust: bool, seed: int = 0
) -> Network:
    """A fitted network, kept in a folder."""
    path = folder / f"{name}.safetensors"
    if path.exists():
        network = Network(sizes)
        network.load_state_dict(load(path.read_bytes()))
        return network.eval()
    network = fit(pictures, sizes, robust=robust, seed=seed)
    write_atomically(path, save({key: value.contiguous() for key, value in network.state_dict().items()}))
    return network


@torch.no_grad()
def likeliest(network: Network, images: Tensor) -> tuple[Tensor, Tensor]:
    """The likeliest values of images, uint8 (n, 3, SIZE, SIZE), and their probabilities, both (n, attributes)."""
    found = []
    for batch in images.split(500):
        heads = [head.exp().max(1) for head in network(batch.float() / 255)]
        found.append((torch.stack([one.indices for one in heads], 1), torch.stack([one.values for one in heads], 1)))
    values, probabilities = (torch.cat(parts) for parts in zip(*found, strict=True))
    return values, probabilities


def read(network: Network, images: Tensor) -> Tensor:
    """The values of images, int64 (n, attributes): -1 where the reader abstains."""
    values, probabilities = likeliest(network, images)
    return values.where(probabilities >= SURE, -1)


def disagreement(some: Tensor, others: Tensor) -> float:
    """The share of different values (n, attributes) among those that are read in both."""
    both = (some >= 0) & (others >= 0)
    return (some != others)[both].double().sum().item() / max(int(both.sum()), 1)


def own_error(reader: Network, pictures: Pictures, other_world: Tensor) -> dict[str, dict[str, float]]:
    """What the reader abstains from and gets wrong, on pictures that it never saw: sharp, spoiled, and no pictures."""
    generator = torch.Generator().manual_seed(1)
    images, n = pictures.images, len(pictures.images)
    rough = torch.cat([spoiled(batch, generator) for batch in (images.float() / 255).split(50)])
    shown = {
        "real": images,
        "spoiled": rough.mul(255).round().to(torch.uint8),
        "means of two": images // 2 + images.roll(1, 0) // 2,
        "upside down": images.flip(2),
        "the other world": other_world[:n],
        "noise": torch.randint(256, images.shape, generator=generator, dtype=torch.uint8),
    }
    found = {}
    for name, some in shown.items():
        values = read(reader, some)
        found[name] = {"abstains": (values < 0).double().mean().item()}
        if name in ("real", "spoiled"):
            found[name]["wrong"] = disagreement(values, pictures.values)
            each = [disagreement(*pair) for pair in zip(values.T, pictures.values.T, strict=True)]
            found[name]["wrong in the worst attribute"] = max(each)
    return found


# --- the truth --------------------------------------------------------------------------------------------------------

DROPPED, LEAST, CHANCE = 0.1, 200, 0.05
"""Errors of what is read need ``LEAST`` samples in which each pair of attributes is read."""
OF_READ = ("attributes", "pairs", "forbidden", "dropped", "variety lost")
ERRORS = ("overall", "unreadable", *OF_READ, "copies")


def errors(world: World, values: Tensor) -> dict[str, float]:
    """The errors of samples with these values (n, attributes), but copies; those of what is read if it is enough."""
    found = {"unreadable": (values < 0).double().mean().item()}
    pairs = [pair_errors(values[:, axes], law) for axes, law in pair_laws(world.name)]
    found["overall"] = float(np.mean([pair["overall"] for pair in pairs]))
    if all("pairs" in pair for pair in pairs):
        one = [
            (column[column >= 0].bincount(minlength=len(law)) / (column >= 0).sum() - law).abs().sum().item() / 2
            for column, law in zip(values.T, map(world.probabilities, world.attributes), strict=True)
        ]
        found["attributes"] = float(np.mean(one))
        found |= {name: float(np.mean([pair[name] for pair in pairs])) for name in ("pairs", "dropped", "variety lost")}
        found["forbidden"] = sum(pair["forbidden"] for pair in pairs)
    return found


def pair_errors(values: Tensor, law: Tensor) -> dict[str, float]:
    """The errors of two attributes of n samples, int64 (n, 2), whose joint law has one dimension for each."""
    seen = values[(values >= 0).all(1)]
    m = len(seen)
    counts = (seen[:, 0] * law.shape[1] + seen[:, 1]).bincount(minlength=law.numel()).view(law.shape).double()
    found = {"overall": float((counts / len(values) - law).abs().sum() + 1 - m / len(values)) / 2}
    if m < LEAST:
        return found
    shares = counts / m
    same = max(float((counts * (counts - 1)).sum()), 1.0) / (m * (m - 1))
    return {
        **found,
        "pairs": float((shares - law).abs().sum()) / 2,
        "forbidden": float(shares[law == 0].sum()),
        "dropped": float(law[shares < DROPPED * law].sum()),
        "variety lost": 1 - float(law.square().sum()) / same,
    }


@cache
def pair_laws(world: str) -> list[tuple[list[int], Tensor]]:
    """Each two attributes of a world, by their indices, and their joint law."""
    names = list(WORLDS[world].attributes)
    return [([i, j], WORLDS[world].probabilities(names[i], names[j])) for i, j in combinations(range(len(names)), 2)]


def floors(world: World, real: Tensor, values: Tensor) -> dict[str, float]:
    """The errors of as many held-out real pictures, ``real``, unread where samples are; means over ten draws.

    For overall and unreadable, which depend on what is unread, real pictures as the reader reads them.
    """
    generator = torch.Generator().manual_seed(0)
    draws = []
    for _ in range(10):
        some = real[torch.randperm(len(real), generator=generator)[: len(values)]]
        own = errors(world, some)
        masked = errors(world, some.where(values[: len(some)] >= 0, -1))
        draws.append({**masked, "overall": own["overall"], "unreadable": own["unreadable"]})
    return {name: float(np.mean([draw[name] for draw in draws])) for name in draws[0]}


def copies(images: Tensor, held_out: Tensor, train: Tensor) -> float:
    """The share of copies of training pictures, which bad samples hide: at least 0."""
    limit = nearness(held_out, train).quantile(CHANCE)
    found = (nearness(images, train) < limit).double().mean().item()
    return max(found - CHANCE, 0.0) / (1 - CHANCE)


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
    """The features and classes of an ordinary classifier of a world's labels, the hair: a network with one head."""

    shape, width = (3, SIZE, SIZE), 128

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network
        self.classes = network.heads[0].out_features

    @property
    def digest(self) -> str:
        """Of the weights."""
        return tensors_digest(sorted(self.network.state_dict().items()))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features (n, 128) and logits of images, uint8 (n, 3, SIZE, SIZE)."""
        features = self.network.trunk(images.float() / 255 - 0.5)
        return features, self.network.heads[0](features)


class Judge:
    """Measures the errors and the scores of sets of a world, with fitted networks that are kept in a folder."""

    def __init__(self, folder: Path, world: World, parts: Mapping[str, Pictures]) -> None:
        sizes = list(world.weights.shape)
        self.reader, self.second = (
            fitted(folder, f"reader-{world.name}-{seed}", parts["reader"], sizes, robust=True, seed=seed)
            for seed in (0, 1)
        )
        classifier = fitted(folder, f"hair-cnn-{world.name}", parts["reader"], sizes[:1], robust=False)
        self.world, self.held, self.zoo = world, parts["held out"], load_zoo()
        self.real = read(self.reader, self.held.images)
        pixels = HalfPixels(parts["train"].images)
        pixels.digest = sha256(parts["train"].images.numpy().tobytes()).hexdigest()
        self.extractors: dict[str, Extractor] = {
            "pictures-ae": find_extractor("pictures-ae", self.zoo),
            "pixels": pixels,
            "hair-cnn": HairCnn(classifier),
        }
        reference = Dataset(world.name, "test", parts["reference"].images)
        self.reals = {name: RealImages(reference, {}, name, one, CPU) for name, one in self.extractors.items()}
        self.directions = {name: Directions.of(real.features.values) for name, real in self.reals.items()}

    def judged(self, images: Tensor, train: Tensor, exact: Tensor | None) -> dict[str, Any]:
        """A set's errors, those of real pictures, and its scores, as JSON.

        Args:
            images: Of the set.
            train: What their generator was trained on.
            exact: The values of their attributes, if they are known.
        """
        likely, probabilities = likeliest(self.reader, images)
        values, *others = (likely.where(probabilities >= sure, -1) for sure in (SURE, *OTHERS))
        copied = copies(images[:REFERENCE], self.held.images[:REFERENCE], train)
        return {
            "errors": {**errors(self.world, values), "copies": copied},
            "floors": {**floors(self.world, self.real, values), "copies": 0.0},
            "disagreement": disagreement(values, read(self.second, images)),
            "overall if sure": [errors(self.world, one)["overall"] for one in others],
            **({} if exact is None else {"exact": errors(self.world, exact)}),
            "scores": self.scores(images[:REFERENCE], Dataset(self.world.name, "train", train)),
        }

    def scores(self, images: Tensor, train: Dataset) -> dict[str, float]:
        """Every view of images; ``train`` has those that their generator was trained on."""
        found: dict[str, float] = {}
        for name, extractor in self.extractors.items():
            fake = extract(name, extractor, images, CPU)
            real, training = self.reals[name], RealImages(train, {}, name, extractor, CPU)
            inputs = MetricInputs(len(fake), lambda fake=fake: fake, None, real, lambda of=training: of)
            for view in (view for view in VIEWS if view.endswith(f"@{name}")):
                metric = view.partition("@")[0]
                found[view] = (
                    variety(Features(fake.values[:WATCHED_SAMPLES]), self.directions[name])["spread"]
                    if metric == "variety"
                    else self.zoo.metrics.get(metric).create().compute(inputs)
                )
        return found


def score(folder: Path) -> dict[str, Any]:
    """Read and score all samples; continues where it was interrupted."""
    torch.set_num_threads(1)
    worlds = {name: drawn(world) for name, world in WORLDS.items()}
    outcome: dict[str, Any] = {"command": "python benchmarks/truth.py score", "environment": environment(CPU)}
    outcome |= {"threads": 1, "samples": SAMPLES, "reference": REFERENCE, "worlds": {}}
    for name, world in WORLDS.items():
        judge = Judge(folder, world, worlds[name])
        (other,) = (parts["held out"].images for key, parts in worlds.items() if key != name)
        facts = kept(folder / name / "reader.json", partial(own_error, judge.reader, judge.held[:REFERENCE], other))
        rows = []
        for row, *made in sets(folder, world, worlds[name]):
            rows.append({**row, **kept(folder / name / f"{row['name']}.json", partial(judge.judged, *made))})
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
) -> Iterator[tuple[dict[str, Any], Tensor, Tensor, Tensor | None]]:
    """What each set is, and what ``Judge.judged`` needs."""
    for name, pictures in constructed(world, parts):
        row = {"name": name, "kind": "constructed", "training": None}
        yield row, pictures.images, parts["train"].images, pictures.values
    for training in TRAININGS:
        train = training.pictures(world, parts["train"]).images
        for count, kind in training.stages.items():
            path = samples_path(folder, world, training, count)
            if not path.exists():
                raise GanzooError(f"{path} does not exist.", "Run `make` with this folder first.")
            row = {"name": f"{training.name}, {count:,} images", "kind": kind, "training": training.name}
            yield row, load(path.read_bytes())["images"], train, None


# --- what follows -----------------------------------------------------------------------------------------------------

RESAMPLES, MARGIN = 2_000, 0.05
"""Resamples of trainings for an interval; the difference between two errors that is clear."""
ALL, READABLE = ("overall", "unreadable", "copies"), ("overall", *OF_READ, "copies")
"""The errors that a view is compared with, over all sets and over those of which enough is read."""
Outcome = Mapping[str, Any]
Row = Mapping[str, Any]


def trained(outcome: Outcome, world: str, readable: bool = False) -> list[dict[str, Any]]:
    """The rows of trained generators; ``readable``: those of whose samples enough is read for every error."""
    rows = [row for row in outcome["worlds"][world]["sets"] if row["training"] is not None]
    return [row for row in rows if set(OF_READ) <= set(row["errors"])] if readable else rows


def resampled(outcome: Outcome) -> tuple[list[str], np.ndarray]:
    """The names of the trainings, and how often each is drawn in each of ``RESAMPLES`` resamples of them.

    Two lengths of one training are not independent, nor is one recipe in two worlds: they are drawn together.
    """
    names = list(dict.fromkeys(row["training"] for world in outcome["worlds"] for row in trained(outcome, world)))
    draws = np.random.default_rng(0).choice(len(names), size=(RESAMPLES, len(names)))
    return names, (draws[:, :, None] == np.arange(len(names))).sum(1)


def excess(row: Row, error: str) -> float:
    """By how much an error exceeds that of real pictures."""
    return float(row["errors"][error] - row["floors"][error])


def merit(outcome: Outcome, world: str, row: Row, view: str) -> float:
    """How good a view says that a set is: higher is better."""
    value, metric = float(row["scores"][view]), view.partition("@")[0]
    if metric == "class-entropy":  # real pictures are best
        real = next(one for one in outcome["worlds"][world]["sets"] if one["name"] == "real pictures")
        return -abs(value - float(real["scores"][view]))
    return -value if metric in ("fid", "fid-infinity", "kid", "memorisation") else value


def correlations(outcome: Outcome, readable: bool) -> dict[str, dict[str, dict[str, float]]]:
    """Spearman's correlation of each view's order with that of each error's excess, by view and error.

    Returns:
        ``value``, the mean over the worlds; ``low`` and ``high``, its 95% interval over resampled trainings.
    """
    errors = READABLE if readable else ALL
    names, counts = resampled(outcome)
    values, draws = [], []
    for world in outcome["worlds"]:
        rows = trained(outcome, world, readable)
        table = np.array(
            [[merit(outcome, world, row, view) for view in VIEWS] + [-excess(row, e) for e in errors] for row in rows]
        )
        weights = counts[:, [names.index(row["training"]) for row in rows]]
        values.append(rank_correlations(table))
        draws.append([rank_correlations(table.repeat(often, 0)) for often in weights])
    found = {"value": np.mean(values, 0)}
    found["low"], found["high"] = np.percentile(np.mean(draws, 0), [2.5, 97.5], axis=0)
    return {
        view: {error: {key: float(of[i, j]) for key, of in found.items()} for j, error in enumerate(errors)}
        for i, view in enumerate(VIEWS)
    }


def rank_correlations(table: np.ndarray) -> np.ndarray:
    """Spearman's correlations of the first columns, ``VIEWS``, with the others; 0 for a constant."""
    ranks = rankdata(table, axis=0)
    ranks -= ranks.mean(0)
    lengths = np.sqrt((ranks**2).sum(0))
    lengths[lengths == 0] = np.inf
    return (ranks[:, : len(VIEWS)].T @ ranks[:, len(VIEWS) :]) / np.outer(lengths[: len(VIEWS)], lengths[len(VIEWS) :])


def clearly_worse(one: Row, other: Row) -> bool:
    """Whether a set is clearly worse than another: overall, in pairs or in copies, and in none clearly better."""
    both = [error for error in ("overall", "pairs", "copies") if error in one["errors"] and error in other["errors"]]
    gaps = [excess(one, error) - excess(other, error) for error in both]
    return max(gaps) > MARGIN and min(gaps) >= -MARGIN


def lies(outcome: Outcome, view: str) -> tuple[list[float], dict[tuple[str, str], tuple[float, int]]]:
    """Pairs of sets, one clearly worse than the other, of which a view ranks the worse one higher; ties count half.

    Returns:
        Their share and its 95% interval over resampled trainings; and their number and that of all pairs, by the kinds
        of the worse and the better set.
    """
    names, counts = resampled(outcome)
    wrong, total = np.zeros((2, len(names), len(names)))
    kinds: dict[tuple[str, str], tuple[float, int]] = {}
    for world in outcome["worlds"]:
        for worse, better in permutations(trained(outcome, world), 2):
            if not clearly_worse(worse, better):
                continue
            more, less = (merit(outcome, world, row, view) for row in (worse, better))
            lie = 0.5 if more == less else float(more > less)
            place = names.index(worse["training"]), names.index(better["training"])
            wrong[place] += lie
            total[place] += 1
            lied, of = kinds.get((worse["kind"], better["kind"]), (0.0, 0))
            kinds[worse["kind"], better["kind"]] = lied + lie, of + 1
    shares = ((counts @ wrong) * counts).sum(1) / ((counts @ total) * counts).sum(1)
    return [wrong.sum() / total.sum(), *np.nanpercentile(shares, [2.5, 97.5])], kinds


# --- the report -------------------------------------------------------------------------------------------------------

SHOWN = (
    *(
        f"{metric}@pictures-ae"
        for metric in ("fid", "kid", "precision", "recall", "coverage", "memorisation", "variety")
    ),
    "is@hair-cnn",
)
"""The views of the page; results/truth.md has all of them."""


def lies_table(outcome: Outcome, views: Sequence[str], most: int, counts: bool) -> str:
    """In Markdown: how often each view lies, and about which kinds in most of their pairs, ``most`` kinds at most."""
    rows = []
    for view in views:
        (share, low, high), by_kinds = lies(outcome, view)
        often = sorted(((n, of, kinds) for kinds, (n, of) in by_kinds.items() if 2 * n > of), reverse=True)
        said = [
            f"{worse} to {better}" + (f", {n:g} of {of}" if counts else "") for n, of, (worse, better) in often[:most]
        ]
        rows.append([f"`{view}`", f"{share:.0%} ({low:.0%} to {high:.0%})", "; ".join(said)])
    return markdown_table({"this metric": "left", "lies": "right", "most often, it prefers": "left"}, rows)


def correlations_table(outcome: Outcome, readable: bool) -> str:
    """In Markdown: each view's rank correlation with each error, and its interval."""
    found = correlations(outcome, readable)
    names = READABLE if readable else ALL
    rows = [
        [f"`{view}`", *("{value:.2f} ({low:.2f} to {high:.2f})".format(**of[error]) for error in names)]
        for view, of in found.items()
    ]
    return markdown_table({"view": "left", **dict.fromkeys(names, "right")}, rows)


def errors_table(rows: Sequence[Row], other: str) -> str:
    """In Markdown: the errors of each set, and in brackets those in ``other``, such as ``floors``, that it has."""
    lines = [[row["name"], row["kind"]] for row in rows]
    for line, row in zip(lines, rows, strict=True):
        for error in ERRORS:
            beside = f" ({row[other][error]:.3f})" if error in row[other] else ""
            line.append(f"{row['errors'][error]:.3f}{beside}" if error in row["errors"] else "")
    return markdown_table({"samples": "left", "kind": "left", **dict.fromkeys(ERRORS, "right")}, lines)


def reader_table(facts: Mapping[str, Mapping[str, float]]) -> str:
    """In Markdown: what the reader abstains from, and what it gets wrong of what it reads."""
    names = list(facts["real"])
    rows = [[shown, *(f"{of[one]:.2%}" if one in of else "" for one in names)] for shown, of in facts.items()]
    return markdown_table({"pictures": "left", **dict.fromkeys(names, "right")}, rows)


def everything(outcome: Outcome) -> str:
    """The page in results/."""
    parts = [
        "# Every metric against the truth",
        f"Made by `{outcome['command']}` with {outcome['samples']:,} samples of each generator; metrics see "
        f"{outcome['reference']:,} of them, and as many test pictures. "
        "[The script](../benchmarks/truth.py) defines every error.",
    ]
    for world, of in outcome["worlds"].items():
        known = [row for row in of["sets"] if "exact" in row]
        parts += [f"## {world}: the reader", reader_table(of["reader"])]
        parts += [f"## {world}: the errors", "In brackets: as many real pictures, read in the same places."]
        parts += [errors_table(of["sets"], "floors"), "Constructed sets; in brackets, by their known values."]
        parts += [errors_table(known, "exact")]
    parts += [
        if_bolder(outcome),
        "## Rank correlations of all sets",
        "Mean of the worlds, and 95% interval over trainings.",
    ]
    parts += [correlations_table(outcome, readable=False), "## Rank correlations of sets of which enough is read"]
    parts += [correlations_table(outcome, readable=True), "## When each view lies"]
    return "\n\n".join([*parts, lies_table(outcome, VIEWS, most=8, counts=True)]) + "\n"


def facts(outcome: Outcome) -> str:
    """What the page says of the samples and of the reader, each time of the world in which it is worse."""
    readers = [of["reader"] for of in outcome["worlds"].values()]
    most = {
        (pictures, fact): f"{max(of[pictures][fact] for of in readers):.2%}"
        for pictures, fact in product(("real", "spoiled"), ("abstains", "wrong"))
    }
    every = [row for world in outcome["worlds"] for row in trained(outcome, world)]
    apart = sorted((row["disagreement"], row["kind"]) for row in every)
    overall = sorted(row["errors"]["overall"] for row in every)
    return (
        f"{len(resampled(outcome)[0])} trainings a world gave {len(every)} sets of samples, with overall errors from "
        f"{overall[0]:.2f} to {overall[-1]:.2f}; {sum(excess(row, 'copies') > MARGIN for row in every)} have copies. "
        f"The reader abstains from {most['real', 'abstains']} of the attributes of real pictures and "
        f"{most['spoiled', 'abstains']} of spoiled ones, and misreads {most['real', 'wrong']} and "
        f"{most['spoiled', 'wrong']} of the others. In samples, a second reader, fitted from another seed, contradicts "
        f"it in {apart[len(apart) // 2][0]:.1%} of what both read (median; {apart[-1][0]:.1%} at most, {apart[-1][1]})."
    )


def if_bolder(outcome: Outcome) -> str:
    """How much it matters how sure the reader has to be."""
    orders = []
    for world, i in product(outcome["worlds"], range(len(OTHERS))):
        pairs = [(row["errors"]["overall"], row["overall if sure"][i]) for row in trained(outcome, world)]
        orders.append(float(spearmanr(pairs).statistic))
    return (
        f"A reader that needs a probability of {OTHERS[0]} or {OTHERS[1]} instead of {SURE} orders samples as this one "
        f"does overall, by rank correlations from {min(orders):.2f} to {max(orders):.2f}."
    )


def plot(outcome: Outcome, path: Path) -> None:
    """Each view's rank correlation with three errors."""
    mpl.use("svg")
    from matplotlib import pyplot as plt

    panels = (("overall", False), ("pairs", True), ("copies", False))
    figure, axes = plt.subplots(1, 3, figsize=(12, 6), sharey=True)
    for axis, (error, readable) in zip(axes, panels, strict=True):
        found = correlations(outcome, readable)
        for place, view in enumerate(reversed(VIEWS)):
            of = found[view][error]
            axis.plot([of["low"], of["high"]], [place, place], color="0.6")
            axis.plot(of["value"], place, "o", color="black", markersize=4)
        axis.axvline(0, color="0.8", linewidth=0.8)
        axis.set(title=f"{error}, {'if enough is read' if readable else 'all sets'}", xlim=(-1.05, 1.05))
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
    found = f"{facts(outcome)}\n\n{lies_table(outcome, SHOWN, most=2, counts=False)}"
    write_atomically(PAGE, between_markers(PAGE.read_text("utf-8"), MARKERS, found, str(PAGE)).encode())
    print(found)


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
