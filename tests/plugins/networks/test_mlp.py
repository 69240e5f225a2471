"""The classic perceptrons: their sizes, their options, and labels."""

from __future__ import annotations

import torch

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.mlp import Discriminator, Generator

SPEC = Spec((1, 28, 28), GaussianPrior(dim=100))


def widths(network: torch.nn.Module) -> list[tuple[int, int]]:
    linear = [m for m in network.modules() if isinstance(m, torch.nn.Linear)]
    return [(m.in_features, m.out_features) for m in linear]


def test_the_networks_have_the_classic_sizes() -> None:
    assert widths(Generator(SPEC)) == [(100, 128), (128, 256), (256, 512), (512, 1024), (1024, 784)]
    assert widths(Discriminator(SPEC)) == [(784, 512), (512, 256), (256, 1)]


def test_options_shape_the_networks() -> None:
    assert widths(Generator(SPEC, hidden=[7])) == [(100, 7), (7, 784)]
    assert widths(Discriminator(SPEC, hidden=[])) == [(784, 1)]
    layered = Discriminator(SPEC, hidden=[8, 8], norm="layer", slope=0.5)
    assert sum(isinstance(m, torch.nn.LayerNorm) for m in layered.modules()) == 1
    assert {m.negative_slope for m in layered.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.5}


def test_each_label_is_a_column_of_its_own() -> None:
    spec = Spec((1, 2, 2), GaussianPrior(dim=3), classes=4)
    generator, discriminator = Generator(spec, hidden=[5]), Discriminator(spec, hidden=[5])
    assert widths(generator)[0] == (7, 5)
    assert widths(discriminator)[0] == (8, 5)
    z, images, label = torch.zeros(4, 3), torch.zeros(4, 1, 2, 2), torch.arange(4)
    expected = torch.nn.functional.leaky_relu(generator.trunk[0].weight[:, 3:].T + generator.trunk[0].bias, 0.2)
    assert torch.allclose(generator(z, label), torch.tanh(generator.head(expected)).view(4, 1, 2, 2))
    assert len(discriminator(images, label).unique()) == 4
