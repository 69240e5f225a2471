"""DCGAN's networks: native sizes, padding, initialisation."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo.layers import pyramid_sizes
from ganzoo_plugins.networks.dcgan import Discriminator, Generator


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


def sizes(network: nn.Module, inputs: torch.Tensor) -> list[tuple[int, ...]]:
    """Channels and size that leave each convolution."""
    seen: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
    network(inputs)
    return seen


def test_mnist_is_native() -> None:
    assert sizes(Generator(spec(1, 28, 28), width=8), torch.randn(2, 10)) == [(16, 8, 8), (8, 14, 14), (1, 28, 28)]
    assert sizes(Discriminator(spec(1, 28, 28), width=8), torch.randn(2, 1, 28, 28)) == [
        (8, 14, 14),
        (16, 7, 7),
        (32, 4, 4),
    ]


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
