"""SNGAN's and SAGAN's networks: sizes, grids, spectral normalisation by a full decomposition, attention, labels."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganzoo import GaussianPrior, Images, Spec
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.layers import ConditionalBatchNorm, SelfAttention
from ganzoo.registry.loading import load_zoo
from ganzoo_plugins.networks import sngan
from ganzoo_plugins.networks.sagan import Discriminator, Generator

ZOO = load_zoo()


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


def sizes(network: nn.Module, blocks: Iterable[nn.Module], inputs: Tensor) -> list[tuple[int, ...]]:
    """Channels and grid that leave each block."""
    seen: list[tuple[int, ...]] = []
    for block in blocks:
        block.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
    network(inputs)
    return seen


@pytest.mark.parametrize(
    ("shape", "doubling", "drawn", "judged"),
    [
        ((1, 28, 28), False, [(4, 4), (4, 7), (4, 14), (4, 28)], [(4, 14), (4, 7), (4, 7), (4, 7)]),
        ((3, 32, 32), False, [(4, 4), (4, 8), (4, 16), (4, 32)], [(4, 16), (4, 8), (4, 8), (4, 8)]),  # the paper's
        ((1, 28, 28), True, [(32, 4), (16, 7), (8, 14), (4, 28)], [(4, 14), (8, 7), (16, 7), (16, 7)]),
    ],
)
def test_grids_and_channels(shape: tuple[int, int, int], doubling: bool, drawn: object, judged: object) -> None:
    generator = sngan.Generator(spec(*shape), width=4, doubling=doubling)
    discriminator = sngan.Discriminator(spec(*shape), width=4, doubling=doubling)
    left = [generator.grid, *sizes(generator, generator.blocks, torch.randn(2, 10))]
    assert [grid[:2] for grid in left] == drawn
    assert [grid[:2] for grid in sizes(discriminator, discriminator.blocks, torch.randn(2, *shape))] == judged


def test_every_pixel_counts_where_images_are_padded() -> None:
    images = torch.randn(2, 1, 6, 7, requires_grad=True)
    sngan.Discriminator(spec(1, 6, 7), width=8)(images).sum().backward()
    assert (images.grad != 0).all()


def test_features_are_summed_over_all_places() -> None:
    discriminator, images = sngan.Discriminator(spec(1, 28, 28), width=4), torch.randn(3, 1, 28, 28)
    places = discriminator.blocks(images).clamp(min=0).flatten(2)
    assert places.shape == (3, 4, 49)
    torch.testing.assert_close(discriminator.features(images), places.mean(2) * 49)


@pytest.mark.parametrize("recipe", ["sngan-mnist", "sagan-mnist"])
def test_every_weight_s_largest_singular_value_is_one(recipe: str) -> None:
    """Found by power iteration, one step each time a weight is used, and here by a full decomposition."""
    narrow = load_recipe(recipe, ZOO, ["networks.discriminator.width=4"])
    networks = assemble(narrow, ZOO, Images(1, 28, 28), 10).networks
    discriminator = networks["discriminator"]
    normalised = [module for module in discriminator.modules() if parametrize.is_parametrized(module)]
    weighted = [module for module in discriminator.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    assert set(weighted) <= set(normalised)
    with torch.no_grad():
        for module in normalised:
            for _ in range(300):  # singular values that lie close together are told apart slowly
                _ = module.weight
    discriminator.eval()
    for module in normalised:
        raw = module.parametrizations.weight.original.flatten(1)
        largest = torch.linalg.svd(raw).S[0]
        torch.testing.assert_close(module.weight.flatten(1), raw / largest, atol=1e-3, rtol=1e-2)


@pytest.mark.parametrize("size", [28, 32, 64])
def test_attention_stands_at_half_the_image_s_grid(size: int) -> None:
    small = spec(3, size, size)
    for network, inputs, channels in (
        (Generator(small, width=4), torch.randn(2, 10), 8),
        (Discriminator(small, width=4), torch.randn(2, 3, size, size), 4),
    ):
        attention = [module for module in network.modules() if isinstance(module, SelfAttention)]
        assert sizes(network, attention, inputs) == [(channels, size // 2, size // 2)]


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
