"""Pictures or points in memory, as a dataset plugin hands them over."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from ganzoo.errors import GanzooError

Split = Literal["train", "test"]


@dataclass(frozen=True)
class ImageDataset:
    """Images and labels of one split, on the CPU.

    A dataset plugin registers a factory ``(split, folder, *, options...) -> ImageDataset``, where ``folder`` is the
    user's ``--data-dir`` or None.

    Almost every dataset is of pictures. One of points (a mixture of Gaussians) holds float32 instead, which is
    trained on, drawn and scored without being quantised: 256 levels would be too coarse to tell the points apart.

    Attributes:
        name: The registered name.
        split: ``"train"`` or ``"test"``.
        images: Pictures, uint8 (n, c, h, w), c being 1 or 3; or points, float32 (n, 1, 1, d) in [-1, 1].
        labels: int64 (n,), or None.
        classes: Names of the classes, in the order of the labels; empty where there are none.
    """

    name: str
    split: Split
    images: Tensor
    labels: Tensor | None = None
    classes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        images, labels = self.images, self.labels
        if not (_are_pictures(images) or _are_points(images)):
            shape = "x".join(map(str, images.shape))
            raise GanzooError(
                f"Dataset '{self.name}' ({self.split}) gave images of shape {shape} and type {images.dtype}.",
                "A dataset plugin returns uint8 images of shape (n, 1 or 3, height, width), "
                "or float32 points of shape (n, 1, 1, d).",
            )
        if not self.quantised and not bool((images.abs() <= 1).all()):
            raise GanzooError(
                f"Dataset '{self.name}' ({self.split}) gave points outside of [-1, 1], or some that are no numbers.",
                "Generators draw within [-1, 1]; scale the points to fit.",
            )
        if labels is not None and (labels.shape != images.shape[:1] or labels.dtype != torch.int64):
            raise GanzooError(
                f"Dataset '{self.name}' ({self.split}) gave {tuple(labels.shape)} labels of type {labels.dtype} "
                f"for {len(images)} images.",
                "Labels are int64, one for each image.",
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of one image."""
        channels, height, width = self.images.shape[1:]
        return channels, height, width

    @property
    def quantised(self) -> bool:
        """Whether these are pictures, of 256 levels; points are not quantised."""
        return self.images.dtype == torch.uint8


def _are_pictures(images: Tensor) -> bool:
    return images.dtype == torch.uint8 and images.dim() == 4 and images.shape[1] in (1, 3) and len(images) > 0


def _are_points(images: Tensor) -> bool:
    return images.dtype == torch.float32 and images.dim() == 4 and images.shape[1:3] == (1, 1) and images.numel() > 0


def cache_folder(*parts: str) -> Path:
    """A folder of ganzoo's in the user's cache, created if need be (``GANZOO_CACHE`` moves it)."""
    import os

    from platformdirs import user_cache_path

    root = Path(os.environ["GANZOO_CACHE"]) if os.environ.get("GANZOO_CACHE") else user_cache_path("ganzoo")
    folder = root.joinpath(*parts)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GanzooError(
            f"The cache folder {folder} cannot be made ({error.strerror}).",
            "Point GANZOO_CACHE to a folder that can be written.",
        ) from error
    return folder
