"""Classification accuracy score: what samples are worth as data to learn from.

Ravuri & Vinyals 2019, "Classification Accuracy Score for Conditional Generative Models", arXiv:1905.10887. A classifier
is trained on samples and the classes that they were meant to be, and tested on real images:

    CAS = share of real (x, y) with argmax_k f(x)_k = y,    f fitted to (G(z, y), y) alone

Missing varieties, wrong classes and artefacts lower it. Real vs real is the same classifier's accuracy when it learns
from as many real images.

Differences from the paper:

- f is a small convolutional network, trained for the same number of steps whatever the number of samples; the paper's
  is a ResNet-50.
- Every class has as many samples; the paper draws classes as the training images have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganzoo import Dataset, Extractor, Images, Metric, MetricInputs, Register, hookimpl

PAPER = "Ravuri & Vinyals 2019, Classification Accuracy Score for Conditional Generative Models, arXiv:1905.10887"
STEPS: Final = 400
BATCH: Final = 64
RATE: Final = 4e-3


def classifier(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """From images (n, *shape) in [-1, 1] to logits (n, classes)."""
    channels, height, width = shape
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5, 2, 2),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, 2, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(32 * -(-height // 4) * -(-width // 4), 128),
        nn.ReLU(),
        nn.Linear(128, classes),
    )


def fitted(images: Tensor, labels: Tensor, classes: int, seed: int = 0) -> nn.Sequential:
    """A classifier of images, by Adam with a rate that falls to zero; every batch is drawn anew.

    Args:
        images: (n, c, h, w) in [-1, 1].
        labels: Classes (n,), int64.
        classes: Number of classes.
        seed: Seed of the initial weights and of the batches.
    """
    generator = torch.Generator().manual_seed(seed)
    network = classifier(tuple(images.shape[1:]), classes)
    for parameter in network.parameters():
        if parameter.dim() > 1:
            nn.init.kaiming_uniform_(parameter, generator=generator)
        else:
            nn.init.zeros_(parameter)
    network.to(images.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=RATE)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, STEPS)
    for _ in range(STEPS):
        rows = torch.randint(len(images), (BATCH,), generator=generator).to(images.device)
        optimizer.zero_grad(set_to_none=True)
        cross_entropy(network(images[rows]), labels[rows]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return network


class ClassificationAccuracy(Metric):
    """Share of real images that a classifier trained on samples assigns to their class."""

    better = "higher"
    range = "0 to 1"
    scale = "share"
    share_of = "real images"
    least = BATCH
    needs_labels = True
    needs_features = False
    alone = True

    def obstacle(self, extractor: Extractor | None, dataset: Dataset) -> str | None:
        """Refuse what its convolutions cannot see, in addition to images without labels."""
        if not isinstance(dataset.modality, Images):
            return f"its classifier is for images, but '{dataset.name}' has {dataset.modality}"
        return super().obstacle(extractor, dataset)

    def compute(self, inputs: MetricInputs) -> float:
        """The accuracy, in full precision."""
        real = inputs.real.dataset
        assert inputs.samples is not None
        assert inputs.labels is not None
        assert real.labels is not None
        to_network = real.modality.to_network
        samples, labels = to_network(inputs.samples().to(inputs.device)), inputs.labels.to(inputs.device)
        with torch.enable_grad():
            network = fitted(samples, labels, len(real.classes))
        right = 0
        with torch.no_grad():
            for start in range(0, len(real), 500):
                rows = slice(start, start + 500)
                guessed = network(to_network(real.images[rows].to(inputs.device))).argmax(1)
                right += int(guessed.cpu().eq(real.labels[rows]).sum())
        return right / len(real)

    def settings(self, inputs: MetricInputs) -> Mapping[str, Any]:
        """How the classifier is trained."""
        return {"classifier": "two convolutions", "steps": STEPS, "batch": BATCH, "rate": RATE}


@hookimpl
def register_metrics(register: Register[Metric]) -> None:
    summary = "Accuracy on real images of a classifier that learned from samples"
    register("classification-accuracy-score", ClassificationAccuracy, summary=summary, paper=PAPER, aliases=("cas",))
