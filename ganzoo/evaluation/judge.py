"""The judge: scores sets of images under a stated protocol."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation import extractors, fidelity, references
from ganzoo.evaluation.features import Features, extract
from ganzoo.evaluation.inception import InceptionV3
from ganzoo.evaluation.metrics import Wanted, parse
from ganzoo.evaluation.protocol import Measured
from ganzoo.evaluation.references import RealImages

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from ganzoo.data.dataset import ImageDataset, Split
    from ganzoo.extractor import Extractor
    from ganzoo.plugins import Zoo
    from ganzoo.registry import Entry

SPLIT: Final = "test"
FLOOR_SEED = 0
"""Which train images make the floor."""


class Judge:
    """Holds the extractors and what real images look like to them; made once, asked often.

    Args:
        metrics: ``<metric>@<extractor>``, each.
        dataset_entry: Where real images come from: the test split is the reference, the train split the
            floor.
        dataset_options: The recipe's options for it.
        data_dir: Where the user keeps dataset files, or None.
        zoo: Where extractors are looked up.
        device: Where features are computed.

    Attributes:
        shape: (channels, height, width) of the images it judges.

    Raises:
        GanzooError: A name is unknown, or an extractor takes other images than the dataset has.
    """

    def __init__(
        self,
        metrics: Sequence[str],
        dataset_entry: Entry[ImageDataset],
        dataset_options: Mapping[str, Any],
        data_dir: Path | None,
        zoo: Zoo,
        device: torch.device,
    ) -> None:
        self._wanted = [parse(name) for name in dict.fromkeys(metrics)]
        self._options = dataset_entry.check(dataset_options)
        self._device = device
        self._load = partial(_load, dataset_entry, data_dir, self._options)
        reference = self._load(SPLIT)
        self.shape = reference.shape
        names = dict.fromkeys(wanted.extractor for wanted in self._wanted)
        self._real = {name: self._seen(reference, name, extractors.find(name, zoo, reference.shape)) for name in names}
        self._floors: dict[tuple[str, int], tuple[float, int]] = {}
        for name, real in self._real.items():
            fidelity.register(name, real.extractor)
            # Now, so that the first score of a run costs no more than the later ones.
            _ = real.features.statistics

    def _seen(self, dataset: ImageDataset, name: str, extractor: Extractor) -> RealImages:
        return RealImages(dataset, self._options, name, extractor.to(self._device), self._device)

    def score(self, images: Tensor, *, sample_seed: int | None = None, weights: str | None = None) -> list[Measured]:
        """Every metric of a set of images.

        Args:
            images: uint8 (n, c, h, w), n at least 2.
            sample_seed: What they were drawn with, for the protocol; None where that is unknown.
            weights: ``ema`` or ``raw``, for the protocol; None where that is unknown.

        Raises:
            GanzooError: They are too few, or of another type or shape than an extractor takes.
        """
        self._refuse_unfit(images)
        fakes = {name: extract(name, real.extractor, images, self._device) for name, real in self._real.items()}
        return [self._measure(wanted, fakes[wanted.extractor], sample_seed, weights) for wanted in self._wanted]

    def _refuse_unfit(self, images: Tensor) -> None:
        if images.dtype != torch.uint8 or images.dim() != 4:
            raise GanzooError(
                f"Images of type {images.dtype} and shape {tuple(images.shape)} cannot be scored.",
                "Give uint8 (n, c, h, w), quantised as a picture file would be.",
            )
        if len(images) < 2:
            raise GanzooError(f"{len(images)} images cannot be scored.", "A distribution takes at least two.")
        channels, height, width = images.shape[1:]
        for name, real in self._real.items():
            extractors.refuse_other_shape(name, real.extractor, (channels, height, width))

    def _measure(self, wanted: Wanted, fake: Features, sample_seed: int | None, weights: str | None) -> Measured:
        n_fake = len(fake.values)
        floor, n_floor = self._floor(wanted, n_fake)
        protocol = {
            **self._protocol(wanted),
            "n_fake": n_fake,
            "n_floor": n_floor,
            "sample_seed": sample_seed,
            "weights": weights,
        }
        value = wanted.metric.compute(fake, self._real[wanted.extractor].features)
        return Measured(wanted.name, value, floor, protocol)

    def _protocol(self, wanted: Wanted) -> dict[str, Any]:
        key, extractor = self._real[wanted.extractor].key, self._real[wanted.extractor].extractor
        return {
            "metric": wanted.metric.name,
            "extractor": wanted.extractor,
            "extractor_digest": extractor.digest,
            "dataset": key["dataset"],
            "dataset_options": key["options"],
            "split": key["split"],
            "reference_digest": key["content"],
            "n_real": key["count"],
            "resizing": extractor.resizing if isinstance(extractor, InceptionV3) else "none",
            "quantised": "uint8",
            "torch_fidelity": fidelity.version(),
        }

    def _floor(self, wanted: Wanted, n: int) -> tuple[float, int]:
        """What ``n`` train images score, or all of them where there are fewer, and how many they were."""
        if (wanted.name, n) not in self._floors:
            real = self._real[wanted.extractor]
            train = self._seen(_some_of(self._load("train"), n), real.name, real.extractor)
            key = {
                **train.key,
                "metric": wanted.metric.name,
                "reference": dict(real.key),
                "torch_fidelity": fidelity.version(),
            }
            value = references.number("floor", key, lambda: wanted.metric.compute(train.features, real.features))
            self._floors[wanted.name, n] = value, len(train.dataset)
        return self._floors[wanted.name, n]


def _load(entry: Entry[ImageDataset], data_dir: Path | None, options: Mapping[str, Any], split: Split) -> ImageDataset:
    return entry.create(split, data_dir, **options)


def _some_of(dataset: ImageDataset, n: int) -> ImageDataset:
    chosen = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(FLOOR_SEED))[:n]
    labels = None if dataset.labels is None else dataset.labels[chosen]
    return replace(dataset, images=dataset.images[chosen], labels=labels)
