"""SAGAN's networks: where attention stands, and how labels come in."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ganzoo import GaussianPrior, Spec
from ganzoo.layers import ConditionalBatchNorm, SelfAttention
from ganzoo_plugins.networks.sagan import Discriminator, Generator


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


def looked_at(network: nn.Module, *inputs: torch.Tensor) -> list[tuple[int, ...]]:
    """Channels and grid of what comes into each layer of attention."""
    seen: list[tuple[int, ...]] = []
    for module in network.modules():
        if isinstance(module, SelfAttention):
            module.register_forward_pre_hook(lambda _module, given: seen.append(tuple(given[0].shape[1:])))
    network(*inputs)
    return seen


@pytest.mark.parametrize("size", [28, 32, 64])
def test_attention_stands_at_half_the_image_s_grid(size: int) -> None:
    small = spec(3, size, size)
    assert looked_at(Generator(small, width=4), torch.randn(2, 10)) == [(8, size // 2, size // 2)]
    images = torch.randn(2, 3, size, size)
    assert looked_at(Discriminator(small, width=4), images) == [(4, size // 2, size // 2)]


def test_once_open_attention_carries_one_corner_to_the_other() -> None:
    """A convolution of the block behind it sees three places at a time; attention sees all."""
    discriminator = Discriminator(spec(1, 28, 28), width=8)
    start = discriminator.blocks[:2]

    def moved() -> torch.Tensor:
        images = torch.randn(1, 1, 28, 28)
        changed = images.clone()
        changed[..., :2, :2] += 5
        return (start(images) - start(changed))[..., -1, -1]

    with torch.no_grad():
        assert (moved() == 0).all()
        discriminator.blocks[1].gamma.fill_(1.0)
        assert (moved() != 0).any()


def test_labels_normalise_in_the_generator_and_are_projected_on_in_the_discriminator() -> None:
    conditional = spec(1, 28, 28, classes=3)
    generator, discriminator = Generator(conditional, width=4), Discriminator(conditional, width=4)
    assert generator.start.in_features == 10
    assert sum(isinstance(module, ConditionalBatchNorm) for module in generator.modules()) == 6
    plain = [m for m in generator.modules() if isinstance(m, nn.BatchNorm2d) and m.affine]
    assert plain == [generator.end[0]], "only the last one, as in the authors' code"
    images, label = generator(torch.zeros(3, 10), torch.arange(3)), torch.tensor([0, 1, 2])
    features = discriminator.features(images, label)
    assert torch.equal(features, discriminator.features(images, label.flip(0)))
    projected = (discriminator.head.embedding.weight * features).sum(1)
    wanted = discriminator.head.linear(features).squeeze(1) + projected
    torch.testing.assert_close(discriminator(images, label), wanted)
