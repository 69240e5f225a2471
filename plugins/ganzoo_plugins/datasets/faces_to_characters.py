"""Two worlds for translation without pairs: the images are ``characters``, and the sources are ``faces``."""

from __future__ import annotations

from pathlib import Path

import torch

from ganzoo import Dataset, Register, Split, hookimpl
from ganzoo_plugins.datasets.worlds import Count, Size, characters, faces


def faces_to_characters(
    split: Split, folder: Path | None, *, size: Size = 32, train_images: Count = 10_000, test_images: Count = 2_000
) -> Dataset:
    """Pixel-art characters, and cartoon faces as sources; not paired.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Not needed.
        size: Width and height in pixels.
        train_images: How many of each to draw for training.
        test_images: How many of each to draw as the reference.
    """
    source, target = (
        world(split, folder, size=size, train_images=train_images, test_images=test_images)
        for world in (faces, characters)
    )
    columns = {"source": source.images, "unpaired": torch.ones(len(target), dtype=torch.bool)}
    return Dataset("faces-to-characters", split, target.images, columns=columns, domain="characters")


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    summary = "pixel-art characters, and unpaired cartoon faces as sources"
    register("faces-to-characters", faces_to_characters, summary=summary)
