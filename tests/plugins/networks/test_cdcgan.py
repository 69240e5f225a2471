"""The DCGAN authors' network for MNIST: its sizes, and labels in every layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.cdcgan import Discriminator, Generator


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=100), classes)


def weights(network: nn.Module) -> list[tuple[int, ...]]:
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, kinds)]


def test_the_authors_sizes() -> None:
    """ngf = ndf = 64, 1024 units, 5x5 kernels; each layer's inputs are ten more than the last one's outputs."""
    digits = spec(1, 28, 28, classes=10)
    assert weights(Generator(digits)) == [(1024, 110), (6272, 1034), (138, 64, 5, 5), (74, 1, 5, 5)]
    assert weights(Discriminator(digits)) == [(64, 11, 5, 5), (128, 74, 5, 5), (1024, 6282), (1, 1034)]


@pytest.mark.parametrize("layer", range(4))
def test_every_layer_is_told_the_label(layer: int) -> None:
    """Without the label's weights in all other layers, it still makes a difference."""
    digits, z, images = spec(1, 28, 28, classes=3), torch.randn(4, 100), torch.randn(4, 1, 28, 28)
    generator, discriminator = Generator(digits, width=4).eval(), Discriminator(digits, width=4).eval()
    first, second = torch.zeros(4, dtype=torch.int64), torch.ones(4, dtype=torch.int64)
    for network, inputs in ((generator, z), (discriminator, images)):
        kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
        layers = [module for module in network.modules() if isinstance(module, kinds)]
        with torch.no_grad():
            for index, module in enumerate(layers):
                if index != layer:
                    # A transposed convolution has its inputs first.
                    weight = module.weight if isinstance(module, nn.ConvTranspose2d) else module.weight.transpose(0, 1)
                    weight[-3:] = 0
            assert not torch.equal(network(inputs, first), network(inputs, second))
            layers[layer].weight.zero_()
            assert torch.equal(network(inputs, first), network(inputs, second))
