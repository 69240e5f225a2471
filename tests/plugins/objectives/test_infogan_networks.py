"""InfoGAN's networks: the layers of the paper's appendix, and any image."""

from __future__ import annotations

import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.objectives.infogan import Discriminator, Generator


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=74), classes)


def weights(network: nn.Module) -> list[tuple[int, ...]]:
    layers = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, layers)]


def kinds(network: Generator | Discriminator) -> list[str]:
    return [type(module).__name__ for module in network.layers]


def test_the_paper_s_layers_on_mnist() -> None:
    mnist = spec(1, 28, 28)
    generator, discriminator = Generator(mnist), Discriminator(mnist)
    assert weights(generator) == [(1024, 74), (7 * 7 * 128, 1024), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert weights(discriminator) == [(64, 1, 4, 4), (128, 64, 4, 4), (1024, 7 * 7 * 128), (1, 1024)]
    assert discriminator.feature_width == 1024
    slopes = {module.negative_slope for module in discriminator.modules() if isinstance(module, nn.LeakyReLU)}
    assert slopes == {0.1}


def test_all_but_the_outermost_layers_are_normalised() -> None:
    mnist = spec(1, 28, 28)
    assert kinds(Generator(mnist)) == [
        *("Linear", "BatchNorm1d", "ReLU", "Linear", "Unflatten", "BatchNorm2d", "ReLU"),
        *("UpConv2d", "BatchNorm2d", "ReLU", "UpConv2d", "Crop", "ImageTanh"),
    ]
    assert kinds(Discriminator(mnist)) == [
        *("Conv2d", "LeakyReLU", "Conv2d", "BatchNorm2d", "LeakyReLU"),
        *("Flatten", "Linear", "BatchNorm1d", "LeakyReLU"),
    ]


def test_labels_come_in_both_ways() -> None:
    conditional, label = spec(1, 28, 28, classes=3), torch.arange(3)
    assert weights(Generator(conditional, width=2))[0] == (32, 77)
    by_norm = Generator(conditional, width=2, conditioning="batch-norm")
    assert weights(by_norm)[0] == (32, 74)
    with torch.no_grad():
        by_norm.layers[1].shift[2] = 1.0
    images = by_norm.eval()(torch.zeros(3, 74), label)
    assert torch.allclose(images[0], images[1])
    assert not torch.allclose(images[0], images[2])
    judge = Discriminator(conditional, width=2, norm="none", conditioning="projection")
    assert weights(judge)[0] == (2, 1, 4, 4)
    assert len(judge(images[2:].expand(3, -1, -1, -1), label).unique()) == 3
