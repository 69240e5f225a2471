"""Stacked MNIST: 1,000 known modes, to count how many of them a generator loses.

Metz et al. 2017, "Unrolled Generative Adversarial Networks", arXiv:1611.02163, section 3.3.1: three digits, drawn at
random from MNIST, are the red, green and blue channels of one image. Each combination of three digits is a mode. A
classifier reads each channel of a generated image; ``modes`` counts the combinations that appear, and ``kl`` is
KL(generated modes || uniform) in nats, as in Srivastava et al. 2017, "VEEGAN", arXiv:1705.07761, section 4.2.

Here the classifier is ``mnist-cnn`` at native 28x28. With l_r, l_g and l_b the log-probabilities of the digits in the
channels, mode 100r + 10g + b has the logit

    l_r[r] + l_g[g] + l_b[b]

which is its log-probability if the channels are independent. The counts, 128,000 images to train on and 26,000 to judge
by, are those of VEEGAN's experiments; training images contain only MNIST's training digits, and test images only its
test digits. MNIST's digits are not equally frequent, and 26,000 samples do not hit 1,000 modes evenly, so even real
images have a small ``kl``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from ganzoo import Dataset, Extractor, GanzooError, Register, Split, hookimpl
from ganzoo_plugins.datasets.datasets import mnist
from ganzoo_plugins.extractors.mnist_cnn import MnistCnn

PAPER = "Metz, Poole, Pfau, Sohl-Dickstein 2017, Unrolled Generative Adversarial Networks, arXiv:1611.02163"
MODES = tuple(f"{mode:03}" for mode in range(1000))
SEEDS: dict[Split, int] = {"train": 0, "test": 1}
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def stacked_mnist(
    split: Split, folder: Path | None, *, train_images: Count = 128_000, test_images: Count = 26_000
) -> Dataset:
    """Three random MNIST digits as the channels of one image, 28x28.

    Args:
        split: ``"train"`` or ``"test"``.
        folder: Where MNIST's files are, or None.
        train_images: How many to stack for training.
        test_images: How many to stack as the reference.
    """
    digits = mnist(split, folder)
    assert digits.labels is not None
    n = train_images if split == "train" else test_images
    chosen = torch.randint(len(digits), (n, 3), generator=torch.Generator().manual_seed(SEEDS[split]))
    labels = digits.labels[chosen] @ torch.tensor([100, 10, 1])
    return Dataset("stacked-mnist", split, digits.images[chosen, 0], labels, MODES)


class StackedMnistCnn(Extractor):
    """The MNIST classifier, which reads each channel separately."""

    shape = (3, 28, 28)
    width = 3 * MnistCnn.width
    classes = len(MODES)
    domains = ("stacked-mnist",)

    def __init__(self) -> None:
        super().__init__()
        self.reader = MnistCnn()

    @property
    def digest(self) -> str:
        return self.reader.digest

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Features of the channels side by side, and log-probabilities of all combinations of digits.

        Args:
            images: uint8 (n, 3, 28, 28).

        Returns:
            Features (n, 384), at least zero, and logits (n, 1000), both float32.

        Raises:
            GanzooError: The images have another shape or type.
        """
        # Checked here: the classifier sees single channels, so three grey images look to it like one colour image.
        if images.dtype != torch.uint8 or images.shape[1:] != self.shape:
            shape = "x".join(map(str, images.shape))
            raise GanzooError(
                f"The extractor 'stacked-mnist-cnn' was given images of shape {shape} and type {images.dtype}.",
                "It judges uint8 images of shape (n, 3, 28, 28) and never resamples.",
            )
        features, logits = self.reader(images.flatten(0, 1)[:, None])
        red, green, blue = logits.log_softmax(1).view(-1, 3, 10).unbind(1)
        modes = red[:, :, None, None] + green[:, None, :, None] + blue[:, None, None, :]
        return features.view(len(images), -1), modes.flatten(1)


@hookimpl
def register_datasets(register: Register[Dataset]) -> None:
    register(
        "stacked-mnist",
        stacked_mnist,
        summary="three MNIST digits as red, green and blue, 28x28, 1,000 classes",
        paper=PAPER,
    )


@hookimpl
def register_extractors(register: Register[Extractor]) -> None:
    register("stacked-mnist-cnn", StackedMnistCnn, summary="mnist-cnn on each of three channels", paper=PAPER)
