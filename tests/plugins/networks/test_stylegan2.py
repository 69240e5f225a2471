"""StyleGAN2's networks: noise that a seed repeats, styles, skip connections, and slopes of slopes."""

from __future__ import annotations

import math

import pytest
import torch

from ganzoo import GaussianPrior, Objective, Phase, Spec
from ganzoo.evaluation.sampling import draw
from ganzoo.layers import upsample2x
from ganzoo_plugins.networks.stylegan2 import Discriminator, Generator, Halving, StyledConv, unit


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


def noisy(classes: int = 0) -> Generator:
    generator = Generator(spec(1, 28, 28, classes), width=4, style=8)
    for module in generator.modules():
        if isinstance(module, StyledConv):
            torch.nn.init.ones_(module.noise_strength)
    return generator


class Untrained(Objective):
    def phases(self) -> list[Phase]:
        return []


@pytest.mark.parametrize("classes", [0, 3])
def test_truncation_moves_the_style_and_not_the_code(classes: int) -> None:
    fitted, network = spec(1, 28, 28, classes), Generator(spec(1, 28, 28, classes), width=4, style=8)
    objective = Untrained()
    objective.bind(fitted, {"generator": network})

    def drawn(truncation: float) -> torch.Tensor:
        networks = {"generator": network}
        return draw(
            objective, networks, 12, seed=0, device=torch.device("cpu"), classes=classes, truncation=truncation
        )[0]

    middle = drawn(0.0)
    # All of a class have the same style, so they are the same image: at the start, no layer adds noise.
    assert len(middle.flatten(1).unique(dim=0)) == max(1, classes)
    assert len(drawn(0.5).flatten(1).unique(dim=0)) == 12
    assert not torch.equal(drawn(0.5), drawn(1.0))


def test_noise_is_drawn_in_evaluation_too_and_one_seed_draws_it_again() -> None:
    generator, z = noisy().eval(), torch.randn(2, 10)
    pictures = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        pictures.append(generator(z))
    assert torch.equal(pictures[0], pictures[1])
    assert not torch.allclose(pictures[0], pictures[2], atol=1e-3)


def test_noise_starts_at_zero_strength_and_can_be_learned() -> None:
    generator = Generator(spec(1, 28, 28), width=4)
    z = torch.randn(2, 10)
    assert torch.equal(generator(z), generator(z))
    generator(z).sum().backward()
    strengths = [m.noise_strength for m in generator.modules() if isinstance(m, StyledConv)]
    assert all(strength.grad != 0 for strength in strengths)
    without = Generator(spec(1, 28, 28), width=4, noise=False)
    lacking, unknown = without.load_state_dict(generator.state_dict(), strict=False)
    assert (lacking, len(unknown)) == ([], len(strengths))
    assert torch.equal(without(z), generator(z))  # noise of no strength is none


def test_noise_is_one_map_with_the_learned_deviation() -> None:
    conv = StyledConv(3, 5, 4, (16, 16))
    torch.nn.init.constant_(conv.noise_strength, 0.3)
    conv.activation = torch.nn.Identity()
    maps, w = torch.randn(20, 3, 16, 16), torch.randn(20, 4)
    noise = conv(maps, w) - conv.conv(maps, w)
    assert noise.std().item() == pytest.approx(0.3, rel=0.03)
    assert torch.allclose(noise, noise[:, :1].expand_as(noise), atol=1e-5), "all maps get the same"
    assert not torch.allclose(noise[0], noise[1], atol=0.1), "each image its own"


def test_the_length_of_a_code_does_not_count() -> None:
    generator, z = Generator(spec(1, 28, 28), width=4), torch.randn(3, 10)
    assert torch.allclose(generator(z), generator(5 * z), atol=1e-4)
    assert torch.allclose(unit(5 * z).square().mean(1), torch.ones(3))


def test_the_image_is_the_sum_over_resolutions() -> None:
    synthesis = Generator(spec(1, 28, 28), width=4, style=8).synthesis
    w = torch.randn(2, 8)
    maps, total = synthesis.constant.expand(2, -1, -1, -1), torch.zeros(2, 1, 4, 4)
    for size, resolution in zip((4, 7, 14, 28), synthesis.resolutions, strict=True):
        total = upsample2x(total)[..., :size, :size] if size > 4 else total
        for conv in resolution.convs:
            maps = conv(maps, w)
        total = total + resolution.to_image(maps, w) + resolution.bias
    assert torch.allclose(synthesis(w), total.tanh(), atol=1e-5)


def test_a_residual_block_is_the_mean_of_two_paths_in_variance() -> None:
    block, maps = Halving(3, 5), torch.randn(2, 3, 8, 8)
    assert torch.allclose(block(maps), (block.main(maps) + block.skip(maps)) / math.sqrt(2))
    assert block(maps).shape == (2, 5, 4, 4)


def test_the_head_learns_at_the_equalised_rate_too() -> None:
    for classes in (0, 3):
        discriminator = Discriminator(spec(1, 28, 28, classes), width=4)
        unscaled = {name for name, p in discriminator.named_parameters() if p.dim() > 1 and "original" not in name}
        assert not unscaled


@pytest.mark.parametrize("conditioning", ["projection", "concat"])
def test_labels_change_what_is_judged(conditioning: str) -> None:
    discriminator = Discriminator(spec(1, 28, 28, classes=3), width=4, conditioning=conditioning)
    # A group of one image compares it with nothing, so that the batch is no reason for a difference.
    images = torch.rand(1, 1, 28, 28)
    assert len({discriminator(images, torch.tensor([label])).item() for label in range(3)}) == 3


def test_the_slope_of_a_slope_agrees_with_finite_differences() -> None:
    maps = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(Halving(2, 3).double(), (maps,))


def test_a_slope_s_penalty_reaches_every_weight() -> None:
    discriminator = Discriminator(spec(1, 12, 12), width=2)
    images = torch.rand(4, 1, 12, 12, requires_grad=True)
    (slope,) = torch.autograd.grad(discriminator(images).sum(), images, create_graph=True)
    slope.square().sum().backward()
    for name, parameter in discriminator.named_parameters():
        assert name.endswith("bias") or parameter.grad.abs().sum() > 0, name


def test_the_mapping_network_learns_a_hundredth_as_fast() -> None:
    layers = Generator(spec(1, 28, 28), width=4, style=8).mapping.layers[::2]
    factors = [layer.parametrizations.weight[0].factor * layer.in_features**0.5 for layer in layers]
    assert factors == pytest.approx([0.01] * 8)
