"""Datasets whose splits are no splits, or that differ from call to call."""

import torch

from ganzoo import Dataset, hookimpl


def noise(seed, n=16):
    return torch.randint(256, (n, 1, 4, 4), generator=torch.Generator().manual_seed(seed)).to(torch.uint8)


def always_train(split, folder):
    """Says that each split is the training split."""
    return Dataset("always-train", "train", noise(len(split)))


def one_split(split, folder):
    """The test images are some of the training images."""
    return Dataset("one-split", split, noise(0)[: 16 if split == "train" else 4])


def unseeded(split, folder):
    """Draws from the global generator."""
    return Dataset("unseeded", split, torch.randint(256, (16, 1, 4, 4)).to(torch.uint8))


def other_classes(split, folder):
    """Names the classes of each split apart."""
    labels = torch.arange(16) % 2
    return Dataset("other-classes", split, noise(len(split)), labels, (f"a {split} image", "another"))


@hookimpl
def register_datasets(register):
    register("always-train", always_train, summary="Noise")
    register("one-split", one_split, summary="Noise")
    register("unseeded", unseeded, summary="Noise")
    register("other-classes", other_classes, summary="Noise")
