"""Samples in memory, as a dataset plugin hands them over."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ganzoo.api.modality import Modality, of_samples
from ganzoo.errors import GanzooError
from ganzoo.files import refuse_links

Split = Literal["train", "test"]
"""What a dataset plugin is asked for."""
Part = Literal["train", "validation", "test"]
"""What scores refer to: ``validation`` is a part of the training images that is not trained on."""
RESERVED = ("image", "label", "z", "fake", "real")
"""Names that a further column may not have."""


@dataclass(frozen=True)
class Dataset:
    """The samples of one split, on the CPU: named columns of equally many rows.

    A dataset plugin registers a factory ``(split, folder, *, options...) -> Dataset``, where ``folder`` is the user's
    ``--data-dir`` or None.

    Attributes:
        name: The registered name.
        split: ``"train"``, ``"test"``, or ``"validation"`` for a part of the training images that is not trained on.
        images: The samples, in their modality's stored form (n, *shape): uint8 (n, 1 or 3, h, w) for images, float32
            (n, 1, 1, d) in [-1, 1] for points.
        labels: int64 (n,), or None.
        classes: Names of the classes, in the order of the labels; empty where there are none.
        columns: Further columns by name, each (n, ...): ``source`` is what a translating generator starts from.
            A batch carries them as they are.
        modality: What a sample is; images or points, by type and shape, where it is not given.
        world: What the samples show, as extractors know it: the name of the dataset that an extractor was fitted to,
            such as ``mnist`` for a thousand digits out of it. The dataset's own name where it is not given.
    """

    name: str
    split: Part
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = field(default=())
    columns: Mapping[str, Tensor] = field(default_factory=dict)
    modality: Modality = None  # type: ignore[assignment]  # __post_init__ fills it in
    world: str = ""

    def __post_init__(self) -> None:
        if not self.world:
            object.__setattr__(self, "world", self.name)
        who = f"Dataset '{self.name}' ({self.split})"
        if self.modality is None:
            object.__setattr__(self, "modality", self._guessed(who))
        images, labels, modality = self.images, self.labels, self.modality
        if images.dtype != modality.stored or tuple(images.shape[1:]) != modality.shape or images.numel() == 0:
            raise GanzooError(
                f"{who} returned samples of shape {tuple(images.shape)} and type {images.dtype}.",
                f"Its modality, {modality}, needs {modality.stored} (n, {', '.join(map(str, modality.shape))}).",
            )
        wrong = modality.check(images)
        if wrong:
            raise GanzooError(f"{who} returned {wrong}.", "Scale them to fit.")
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype != torch.int64):
            raise GanzooError(
                f"{who} returned {tuple(labels.shape)} labels of type {labels.dtype} for {len(images)} images.",
                "Labels are int64, one for each image.",
            )
        for name, column in self.columns.items():
            if name in RESERVED or not name.isidentifier():
                raise GanzooError(f"{who} has a column called '{name}'.", "Use another name.")
            if len(column) != len(images):
                raise GanzooError(
                    f"{who} has {len(column):,} rows in its column '{name}' for {len(images):,} images.",
                    "Every column has one row for each image.",
                )

    def _guessed(self, who: str) -> Modality:
        try:
            return of_samples(self.images)
        except GanzooError as error:
            raise GanzooError(
                f"{who} returned images of shape {'x'.join(map(str, self.images.shape))} and type {self.images.dtype}.",
                "A dataset plugin returns uint8 images (n, 1 or 3, height, width), float32 points (n, 1, 1, d), "
                "or names its modality.",
            ) from error

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one sample, (channels, height, width) for images."""
        return self.modality.shape

    @property
    def column_shapes(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Names of the further columns, each with the shape of one row."""
        return tuple((name, tuple(column.shape[1:])) for name, column in self.columns.items())

    def rows(self, chosen: Tensor) -> Dataset:
        """The rows of these indices, int64 (m,)."""
        return replace(
            self,
            images=self.images[chosen],
            labels=None if self.labels is None else self.labels[chosen],
            columns={name: column[chosen] for name, column in self.columns.items()},
        )


ImageDataset = Dataset
"""What it was called while every dataset was of images."""


def cache_folder(*parts: str) -> Path:
    """A folder in the user's cache, created if need be (``GANZOO_CACHE`` moves it).

    Raises:
        GanzooError: It cannot be created, or is a link.
    """
    import os

    from platformdirs import user_cache_path

    root = Path(os.environ["GANZOO_CACHE"]) if os.environ.get("GANZOO_CACHE") else user_cache_path("ganzoo")
    folder = refuse_links(root.joinpath(*parts), root)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GanzooError(
            f"The cache folder {folder} cannot be created ({error.strerror}).",
            "Point GANZOO_CACHE to a folder that you can write to.",
        ) from error
    return folder
