"""The classic networks: perceptrons, DCGAN's for any size, and its authors' with labels in every layer."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo.layers import pyramid_sizes
from ganzoo_plugins.networks import cdcgan, mlp
from ganzoo_plugins.networks.dcgan import Discriminator, Generator

SPEC = Spec((1, 28, 28), GaussianPrior(dim=100))


def weights(network: nn.Module) -> list[tuple[int, ...]]:
    kinds = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, kinds)]


def test_perceptrons_have_the_classic_sizes() -> None:
    assert weights(mlp.Generator(SPEC)) == [(128, 100), (256, 128), (512, 256), (1024, 512), (784, 1024)]
    assert weights(mlp.Discriminator(SPEC)) == [(512, 784), (256, 512), (1, 256)]


def test_options_shape_perceptrons() -> None:
    layered = mlp.Discriminator(SPEC, hidden=[8, 8], norm="layer", slope=0.5)
    assert sum(isinstance(m, torch.nn.LayerNorm) for m in layered.modules()) == 1
    assert {m.negative_slope for m in layered.modules() if isinstance(m, torch.nn.LeakyReLU)} == {0.5}


def test_each_label_is_a_column_of_its_own_in_perceptrons() -> None:
    spec = Spec((1, 2, 2), GaussianPrior(dim=3), classes=4)
    generator, discriminator = mlp.Generator(spec, hidden=[5]), mlp.Discriminator(spec, hidden=[5])
    assert weights(generator)[0] == (5, 7)
    assert weights(discriminator)[0] == (5, 8)
    z, images, label = torch.zeros(4, 3), torch.zeros(4, 1, 2, 2), torch.arange(4)
    expected = torch.nn.functional.leaky_relu(generator.trunk[0].weight[:, 3:].T + generator.trunk[0].bias, 0.2)
    assert torch.allclose(generator(z, label), torch.tanh(generator.head(expected)).view(4, 1, 2, 2))
    assert len(discriminator(images, label).unique()) == 4


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


@pytest.mark.parametrize(
    ("size", "heights", "widths"),
    [
        ((28, 28), (4, 7, 14, 28), (4, 7, 14, 28)),
        ((32, 32), (4, 8, 16, 32), (4, 8, 16, 32)),
        ((64, 64), (4, 8, 16, 32, 64), (4, 8, 16, 32, 64)),
        ((30, 45), (4, 8, 15, 30), (6, 12, 23, 45)),
        ((5, 5), (3, 5), (3, 5)),
    ],
)
def test_sides_are_halved_and_rounded_up(
    size: tuple[int, int], heights: tuple[int, ...], widths: tuple[int, ...]
) -> None:
    assert pyramid_sizes(spec(1, *size)) == list(zip(heights, widths, strict=True))


def test_the_paper_s_channels_at_64() -> None:
    generator = Generator(spec(3, 64, 64), width=128)
    wide = [m for m in generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    assert [(m.in_channels, m.out_channels) for m in wide] == [(1024, 512), (512, 256), (256, 128), (128, 3)]


def test_padding_is_zero_and_the_whole_image_counts() -> None:
    discriminator = Discriminator(spec(1, 6, 7), width=2, norm="none")
    images = torch.randn(2, 1, 6, 7, requires_grad=True)
    padded = torch.zeros(2, 1, 6, 8)
    padded[..., :7] = images.detach()
    assert torch.equal(discriminator.features(images), discriminator.layers(padded))
    discriminator(images).sum().backward()
    assert (images.grad != 0).all()


@pytest.mark.parametrize("network", [Generator, Discriminator])
def test_weights_come_from_a_narrow_normal(network: type[Generator] | type[Discriminator]) -> None:
    built = network(spec(3, 32, 32), width=32)
    for module in built.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) and module.weight.numel() > 1000:
            assert module.weight.std().item() == pytest.approx(0.02, rel=0.1)
            assert abs(module.weight.mean().item()) < 0.002
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight - 1).abs().max() < 0.1
            assert (module.bias == 0).all()


def test_the_authors_sizes() -> None:
    """ngf = ndf = 64, 1024 units, 5x5 kernels; each layer's inputs are ten more than the last one's outputs."""
    digits = Spec((1, 28, 28), GaussianPrior(dim=100), classes=10)
    assert weights(cdcgan.Generator(digits)) == [(1024, 110), (6272, 1034), (138, 64, 5, 5), (74, 1, 5, 5)]
    assert weights(cdcgan.Discriminator(digits)) == [(64, 11, 5, 5), (128, 74, 5, 5), (1024, 6282), (1, 1034)]


@pytest.mark.parametrize("layer", range(4))
def test_every_layer_is_told_the_label(layer: int) -> None:
    """Without the label's weights in all other layers, it still makes a difference."""
    digits, z, images = (
        Spec((1, 28, 28), GaussianPrior(dim=100), classes=3),
        torch.randn(4, 100),
        torch.randn(4, 1, 28, 28),
    )
    generator, discriminator = cdcgan.Generator(digits, width=4).eval(), cdcgan.Discriminator(digits, width=4).eval()
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
