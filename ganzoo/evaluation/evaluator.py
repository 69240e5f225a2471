"""Scores sets of images under a stated protocol."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation import features, reference_cache, torch_fidelity
from ganzoo.evaluation.extrapolation import fid_interval
from ganzoo.evaluation.features import Look, extract
from ganzoo.evaluation.metrics import Case, Wanted, parse_all
from ganzoo.evaluation.pretrained import Pretrained
from ganzoo.evaluation.protocol import Measured
from ganzoo.evaluation.reference_cache import RealImages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ganzoo.api.dataset import ImageDataset, Split
    from ganzoo.api.extractor import Extractor
    from ganzoo.registry.loading import Zoo
    from ganzoo.registry.registry import Entry

FLOOR_SEED = 0
"""Which real images make the floor."""


@dataclass(frozen=True)
class Source:
    """A dataset, and how to have its splits.

    Attributes:
        entry: Its registration.
        options: The recipe's options for it, checked.
        data_dir: Where the user keeps dataset files, or None.
        split: The reference.
    """

    entry: Entry[ImageDataset]
    options: Mapping[str, Any]
    data_dir: Path | None
    split: Split

    def load(self, split: Split) -> ImageDataset:
        """One split."""
        return self.entry.create(split, self.data_dir, **self.options)


@dataclass(frozen=True)
class World:
    """What real images look like to the extractors; everything comes from the cache where it has it.

    Attributes:
        source: The dataset.
        reference: Its split that images are compared with.
        extractors: By name, on ``device``, in evaluation mode.
        device: Where features are computed.
    """

    source: Source
    reference: ImageDataset
    extractors: Mapping[str, Extractor]
    device: torch.device
    _seen: dict[tuple[str, str], RealImages] = field(default_factory=dict)
    _floor_cases: dict[tuple[str, Split, int], tuple[Case, RealImages]] = field(default_factory=dict)
    _floors: dict[tuple[str, int], tuple[float, int]] = field(default_factory=dict)

    def real(self, name: str) -> RealImages:
        """The reference, as one extractor sees it."""
        return self._remember(name, self.source.split)

    def train(self, name: str) -> RealImages:
        """The training set, as one extractor sees it."""
        return self._remember(name, "train")

    def floor(self, wanted: Wanted, n: int) -> tuple[float, int]:
        """What ``n`` real images score, or all of them where there are fewer, and how many they were."""
        if (wanted.name, n) not in self._floors:
            split: Split = "test" if wanted.metric.held_out or self.source.split == "train" else "train"
            case, images = self._floor_case(wanted.extractor, split, n)
            key = {
                **images.key,
                "metric": wanted.metric.name,
                "reference": dict(case.real.key),
                "torch_fidelity": torch_fidelity.version(),
                **wanted.metric.settings(case),
            }
            value = reference_cache.number("floor", key, lambda: wanted.metric.compute(case))
            self._floors[wanted.name, n] = value, case.n
        return self._floors[wanted.name, n]

    def _floor_case(self, name: str, split: Split, n: int) -> tuple[Case, RealImages]:
        """Real images in the place of samples."""
        if (name, split, n) not in self._floor_cases:
            images = self._through(name, _some_of(self.source.load(split), n))
            labels, real = images.dataset.labels, self.real(name)
            case = Case(len(images.dataset), lambda: images.features, labels, real, partial(self.train, name))
            self._floor_cases[name, split, n] = case, images
        return self._floor_cases[name, split, n]

    def _remember(self, name: str, split: Split) -> RealImages:
        if (name, split) not in self._seen:
            dataset = self.reference if split == self.source.split else self.source.load(split)
            self._seen[name, split] = self._through(name, dataset)
        return self._seen[name, split]

    def _through(self, name: str, dataset: ImageDataset) -> RealImages:
        return RealImages(dataset, self.source.options, name, self.extractors[name], self.device)


def _some_of(dataset: ImageDataset, n: int) -> ImageDataset:
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(FLOOR_SEED))[:n]
    labels = None if dataset.labels is None else dataset.labels[chosen]
    return replace(dataset, images=dataset.images[chosen], labels=labels)


class Judge:
    """Holds the extractors and what real images look like to them; made once, asked often.

    Args:
        metrics: ``<metric>@<extractor>``, each; ``all@<extractor>`` is every metric that applies.
        dataset_entry: Where real images come from.
        dataset_options: The recipe's options for it.
        data_dir: Where the user keeps dataset files, or None.
        zoo: Where extractors are looked up.
        device: Where features are computed.
        split: The reference; the other split makes the floor.
        weights: The file of a downloaded extractor's weights; None is where torch-fidelity keeps it.
        look: Computes features as ``extract`` does, perhaps with others' help.

    Attributes:
        shape: (channels, height, width) of the images it judges.

    Raises:
        GanzooError: A name is unknown, an extractor takes other images than the dataset has, or it cannot give
            what a metric needs.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        dataset_entry: Entry[ImageDataset],
        dataset_options: Mapping[str, Any],
        data_dir: Path | None,
        zoo: Zoo,
        device: torch.device,
        *,
        split: Split = "test",
        weights: Path | None = None,
        look: Look = extract,
    ) -> None:
        self._look = look
        wanted = parse_all(metrics)
        source = Source(dataset_entry, dataset_entry.check(dataset_options), data_dir, split)
        reference = source.load(split)
        self.shape = reference.shape
        names = dict.fromkeys(one.extractor for one in wanted)
        found = {name: features.find_extractor(name, zoo, reference.shape, weights).to(device) for name in names}
        self._world = World(source, reference, found, device)
        self._wanted = [one for one in wanted if self._applies(one)]
        for name, extractor in found.items():
            torch_fidelity.register(name, extractor)
            if any(one.extractor == name and not one.metric.alone for one in self._wanted):
                # Now, so that the first score of a run costs no more than the later ones.
                _ = self._world.real(name).features.statistics

    def score(
        self,
        images: Tensor,
        *,
        sample_seed: int | None = None,
        weights: str | None = None,
        labels: Tensor | None = None,
        interval: bool = False,
    ) -> list[Measured]:
        """Every metric of a set of images. Their order does not matter.

        Args:
            images: uint8 (n, c, h, w), n at least 2.
            sample_seed: What they were drawn with, for the protocol; None where that is unknown.
            weights: ``ema`` or ``raw``, for the protocol; None where that is unknown.
            labels: int64 (n,), the classes they were asked to be of; None where nobody asked.
            interval: Whether FID gets an interval, which takes seconds.

        Raises:
            GanzooError: They are too few, of another type or shape than an extractor takes, or lack the labels
                that a metric needs.
        """
        self._refuse_unfit(images, labels)
        order = _canonical_order(images)
        images, labels = images[order], None if labels is None else labels[order]
        cases = {name: self._case(name, images, labels) for name in self._world.extractors}
        return [
            self._measure(wanted, cases[wanted.extractor], sample_seed, weights, interval)
            for wanted in self._wanted
            if wanted.by_name or labels is not None or not wanted.metric.labels
        ]

    def _case(self, name: str, images: Tensor, labels: Tensor | None) -> Case:
        world = self._world
        look = partial(self._look, name, world.extractors[name], images, world.device)
        return Case(len(images), look, labels, world.real(name), partial(world.train, name))

    def _measure(
        self, wanted: Wanted, case: Case, sample_seed: int | None, weights: str | None, interval: bool
    ) -> Measured:
        floor, n_floor = self._world.floor(wanted, case.n)
        protocol = {
            **self._protocol(wanted),
            **wanted.metric.settings(case),
            "n_fake": case.n,
            "n_floor": n_floor,
            "sample_seed": sample_seed,
            "weights": weights,
        }
        measured = Measured(wanted.name, wanted.metric.compute(case), floor, protocol)
        if interval and wanted.metric.name == "fid":
            ends = fid_interval(case.fake.values, case.real.features.statistics, measured.value)
            return replace(measured, interval=ends)
        return measured

    def _protocol(self, wanted: Wanted) -> dict[str, Any]:
        key, extractor = self._world.real(wanted.extractor).key, self._world.extractors[wanted.extractor]
        return {
            "metric": wanted.metric.name,
            "extractor": wanted.extractor,
            "extractor_digest": extractor.digest,
            "dataset": key["dataset"],
            "dataset_options": key["options"],
            "split": key["split"],
            "reference_digest": key["content"],
            "n_real": key["count"],
            "resizing": extractor.resizing if isinstance(extractor, Pretrained) else "none",
            "quantised": "uint8" if self._world.reference.images.dtype == torch.uint8 else "none",
            "torch_fidelity": torch_fidelity.version(),
        }

    def _applies(self, wanted: Wanted) -> bool:
        """Whether a metric can be had; one that was asked for itself has to."""
        obstacle = wanted.metric.obstacle(self._world.extractors[wanted.extractor], self._world.reference)
        if obstacle and wanted.by_name:
            raise GanzooError(f"'{wanted.name}' cannot be measured: {obstacle}.", "Leave it out.")
        return obstacle is None

    def _refuse_unfit(self, images: Tensor, labels: Tensor | None) -> None:
        dtype = self._world.reference.images.dtype
        if images.dtype != dtype or images.dim() != 4:
            kind = "uint8" if dtype == torch.uint8 else str(dtype).removeprefix("torch.")
            raise GanzooError(
                f"Images of type {images.dtype} and shape {tuple(images.shape)} cannot be scored.",
                f"Give {kind} (n, c, h, w), as the dataset's own are.",
            )
        if len(images) < 2:
            raise GanzooError(f"{len(images)} images cannot be scored.", "A distribution takes at least two.")
        channels, height, width = images.shape[1:]
        for name, extractor in self._world.extractors.items():
            features.refuse_other_shape(name, extractor, (channels, height, width))
        for wanted in self._wanted:
            _refuse_too_few(wanted, min(len(images), len(self._world.reference)))
            if wanted.metric.labels and (wanted.by_name or labels is not None):
                _refuse_labels(wanted, labels, len(images), self._world.extractors[wanted.extractor].classes)


def _refuse_too_few(wanted: Wanted, n: int) -> None:
    if n < wanted.metric.least:
        raise GanzooError(
            f"'{wanted.name}' cannot be measured on {n} images.", f"It takes at least {wanted.metric.least}."
        )


def _refuse_labels(wanted: Wanted, labels: Tensor | None, n: int, classes: int) -> None:
    if labels is None:
        raise GanzooError(
            f"'{wanted.name}' takes images that were asked to be of a class, and these have no labels.",
            "Score a conditional run or an .npz with `labels`, or leave it out.",
        )
    if labels.shape != (n,) or labels.min() < 0 or labels.max() >= classes:
        raise GanzooError(
            f"The labels for '{wanted.name}' are {len(labels)} from {labels.min()} to {labels.max()}.",
            f"It takes one for each of the {n} images, from 0 to {classes - 1}.",
        )


def _canonical_order(images: Tensor) -> Tensor:
    """By their bytes: what is drawn at random inside a metric must not depend on the order of the samples."""
    pixels = images.contiguous().numpy().reshape(len(images), -1).view(np.uint8)
    return torch.from_numpy(np.argsort(pixels.view(f"V{pixels.shape[1]}").ravel(), kind="stable"))
