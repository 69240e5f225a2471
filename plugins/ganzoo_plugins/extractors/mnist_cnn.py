"""Features of a small classifier of digits or clothes, at native 28x28, for Fréchet distances.

An image is never resampled or tiled to RGB, so the measurement is of the image itself. The features are the 128 outputs
of the last hidden layer after its ReLU, right before the class logits, the same place where FID takes Inception's
features (Heusel et al. 2017, arXiv:1706.08500).

The weights of ``mnist-cnn`` are trained on all 60,000 training images and those of ``fashion-mnist-cnn`` on the 50,000
that are not validation images, by ``python -m ganzoo_plugins.extractors.mnist_cnn_training --out FILE``. Each layer's
batch normalisation is folded into it, so that nothing depends on the batch or on train mode.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from ganzoo import Extractor, Register, hookimpl
from ganzoo_plugins.extractors.bundled import Bundled

WEIGHTS = Path(__file__).with_name("mnist-cnn.safetensors")
FASHION_WEIGHTS = Path(__file__).with_name("fashion-mnist-cnn.safetensors")


def trunk() -> nn.Sequential:
    """The layers from images (n, 1, 28, 28) in [0, 1] to features (n, 128), without normalisation."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, stride=2, padding=2),
        nn.ReLU(),
        nn.Conv2d(32, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(64, 64, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * 5 * 5, MnistCnn.width),
        nn.ReLU(),
    )


class MnistCnn(Bundled):
    """A convolutional classifier of MNIST digits.

    Args:
        weights: A file that the training script wrote; by default the one in the package.

    Raises:
        GanzooError: The file is missing or not this network's.
    """

    name = "mnist-cnn"
    made_by = "ganzoo_plugins.extractors.mnist_cnn_training"
    width = 128
    classes = 10
    domains = ("mnist",)

    def __init__(self, weights: Path = WEIGHTS) -> None:
        super().__init__()
        self.trunk = trunk()
        self.head = nn.Linear(self.width, self.classes)
        self.read_weights(weights)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features and class logits.

        Args:
            images: uint8 (n, 1, 28, 28).

        Returns:
            Features (n, 128), at least zero, and logits (n, 10), both float32.

        Raises:
            GanzooError: The images have another shape or type.
        """
        self.refuse_unfit(images)
        with torch.autocast(images.device.type, enabled=False):
            features: Tensor = self.trunk(images.to(torch.float32) / 255)
            return features, self.head(features)


class FashionMnistCnn(MnistCnn):
    """The same network as a classifier of Fashion-MNIST's clothing.

    Args:
        weights: A file that the training script wrote; by default the one in the package.

    Raises:
        GanzooError: The file is missing or not this network's.
    """

    name = "fashion-mnist-cnn"
    domains = ("fashion-mnist",)

    def __init__(self, weights: Path = FASHION_WEIGHTS) -> None:
        super().__init__(weights)


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    register("mnist-cnn", MnistCnn, summary="128 features of a small MNIST classifier, at native 28x28")
    register(
        "fashion-mnist-cnn",
        FashionMnistCnn,
        summary="128 features of a small Fashion-MNIST classifier, at native 28x28",
    )
