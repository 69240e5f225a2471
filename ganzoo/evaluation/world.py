"""The real side of a judgement: the reference, the training set and the floor, as every extractor sees them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from ganzoo.evaluation import fidelity, references
from ganzoo.evaluation.case import Case
from ganzoo.evaluation.references import RealImages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ganzoo.data.dataset import ImageDataset, Split
    from ganzoo.evaluation.metrics import Wanted
    from ganzoo.extractor import Extractor
    from ganzoo.registry import Entry

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
                "torch_fidelity": fidelity.version(),
                **wanted.metric.settings(case),
            }
            value = references.number("floor", key, lambda: wanted.metric.compute(case))
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
