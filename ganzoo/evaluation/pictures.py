"""Pictures that are to be judged, and what may be done so that they fit a dataset."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.errors import GanzooError
from ganzoo.evaluation.extractors import written

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 4 * 10**9
"""More than this is not read."""


@dataclass(frozen=True)
class Pictures:
    """Images to be judged.

    Attributes:
        images: uint8 (n, c, h, w), or points, float32 (n, 1, 1, d).
        labels: int64 (n,), or None.
        notes: Sentences about what was done to them.
    """

    images: Tensor
    labels: Tensor | None = None
    notes: tuple[str, ...] = ()

    def noted(self, sentence: str, images: Tensor, labels: Tensor | None) -> Pictures:
        """Other images, with one more note."""
        return Pictures(images, labels, (*self.notes, sentence))

    def fitted(self, shape: tuple[int, int, int], *, crop: bool = False) -> Pictures:
        """The same pictures with the channels of a dataset, where no pixel is lost by that.

        Args:
            shape: (channels, height, width) of the dataset.
            crop: Whether a border that is black in all of them may be cut off.

        Raises:
            GanzooError: They are of another size, or coloured where the dataset is grey.
        """
        if self.images.shape[2:] != shape[1:]:
            return self._cropped(shape, crop).fitted(shape)
        channels = self.images.shape[1]
        if channels == shape[0]:
            return self
        if channels == 1:
            return self.noted("Grey pictures: tiled to RGB.", self.images.expand(-1, 3, -1, -1), self.labels)
        if (self.images[:, :1] != self.images).any():
            raise GanzooError(
                "The pictures are coloured and the dataset is grey.",
                "Turn them into grey ones yourself: there is more than one way to.",
            )
        return self.noted("RGB pictures with equal channels: one is kept, as grey.", self.images[:, :1], self.labels)

    def _cropped(self, shape: tuple[int, int, int], crop: bool) -> Pictures:
        """Without the border around the dataset's size, which must be black in every picture."""
        sizes = f"The pictures are {written(shape_of(self.images))}, the dataset's {written(shape)}"
        height, width = self.images.shape[2] - shape[1], self.images.shape[3] - shape[2]
        if height < 0 or width < 0 or height % 2 or width % 2:
            raise GanzooError(
                f"{sizes}.", "Nothing is resampled, because that alone changes a score; generate them at that size."
            )
        top, left = height // 2, width // 2
        inner = self.images[:, :, top : top + shape[1], left : left + shape[2]]
        if inner.count_nonzero() != self.images.count_nonzero():
            raise GanzooError(
                f"{sizes}, and the border between is not black in all of them.",
                "Nothing is resampled and nothing but black is cut off; generate them at the dataset's size.",
            )
        if not crop:
            raise GanzooError(f"{sizes}, with a border that is black in all of them.", "Cut it off with --crop.")
        return self.noted(f"A black border was cut off: {written(shape_of(inner))} is left.", inner, self.labels)

    def at_most(self, n: int, seed: int) -> Pictures:
        """``n`` of them, drawn without replacement; all where there are no more."""
        if len(self.images) < n:
            return replace(self, notes=(*self.notes, f"There are {len(self.images):,} pictures, not {n:,}."))
        if len(self.images) == n:
            return self
        chosen = torch.randperm(len(self.images), generator=torch.Generator().manual_seed(seed))[:n]
        labels = None if self.labels is None else self.labels[chosen]
        return self.noted(
            f"{n:,} of {len(self.images):,} pictures, drawn with seed {seed}.", self.images[chosen], labels
        )


def refuse_size(path: Path, n_bytes: int) -> None:
    """Raise GanzooError where a file says that it holds more than ``MOST_BYTES``."""
    if n_bytes > MOST_BYTES:
        raise GanzooError(
            f"{path} says it holds {n_bytes / 1e9:,.0f} GB.",
            f"More than {MOST_BYTES / 1e9:.0f} GB are not read; give fewer images.",
        )


def shape_of(images: Tensor) -> tuple[int, int, int]:
    """(channels, height, width) of images (n, c, h, w)."""
    channels, height, width = images.shape[1:]
    return channels, height, width
