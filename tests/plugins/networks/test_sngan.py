"""SNGAN's networks: the paper's sizes, native grids, and spectral normalisation against a full decomposition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ganzoo import GaussianPrior, Images, Spec
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import load_zoo
from ganzoo_plugins.networks import sngan

ZOO = load_zoo()


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


def sizes(network: nn.Module, blocks: nn.Sequential, inputs: Tensor) -> list[tuple[int, ...]]:
    """Channels and grid that leave each block."""
    seen: list[tuple[int, ...]] = []
    for block in blocks:
        block.register_forward_hook(lambda _module, _inputs, out: seen.append(tuple(out.shape[1:])))
    network(inputs)
    return seen


def drawn(generator: sngan.Generator) -> list[tuple[int, ...]]:
    return sizes(generator, generator.blocks, torch.randn(2, 10))


def judged(discriminator: sngan.Discriminator, shape: tuple[int, int, int]) -> list[tuple[int, ...]]:
    return sizes(discriminator, discriminator.blocks, torch.randn(2, *shape))


def test_mnist_is_native() -> None:
    small = spec(1, 28, 28)
    assert drawn(sngan.Generator(small, width=4)) == [(4, 7, 7), (4, 14, 14), (4, 28, 28)]
    wanted = [(4, 14, 14), (4, 7, 7), (4, 7, 7), (4, 7, 7)]
    assert judged(sngan.Discriminator(small, width=4), (1, 28, 28)) == wanted


def test_the_paper_s_grids_for_cifar() -> None:
    small = spec(3, 32, 32)
    generator = sngan.Generator(small, width=4)
    assert generator.grid == (4, 4, 4)
    assert drawn(generator) == [(4, 8, 8), (4, 16, 16), (4, 32, 32)]
    wanted = [(4, 16, 16), (4, 8, 8), (4, 8, 8), (4, 8, 8)]
    assert judged(sngan.Discriminator(small, width=4), (3, 32, 32)) == wanted


def test_channels_double_as_the_grid_is_halved() -> None:
    small = spec(1, 28, 28)
    generator = sngan.Generator(small, width=4, doubling=True)
    assert generator.grid == (32, 4, 4)
    assert drawn(generator) == [(16, 7, 7), (8, 14, 14), (4, 28, 28)]
    wanted = [(4, 14, 14), (8, 7, 7), (16, 7, 7), (16, 7, 7)]
    assert judged(sngan.Discriminator(small, width=4, doubling=True), (1, 28, 28)) == wanted


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
    narrow = load_recipe(recipe, ZOO, ["networks.discriminator.width=8"])
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
        assert torch.linalg.svd(module.weight.flatten(1)).S[0].item() == pytest.approx(1, rel=1e-2)
