"""StyleGAN2's layers against one convolution for each image; noise, styles, skip connections, slopes, path lengths."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ganzoo import GaussianPrior, Objective, Phase, Spec
from ganzoo.evaluation.sampling import draw
from ganzoo.layers import upsample2x
from ganzoo_plugins.networks.stylegan2 import (
    Activation,
    Discriminator,
    Generator,
    Halving,
    ModulatedConv2d,
    PathLength,
    StyledConv,
    equalised,
    path_lengths,
    unit,
)


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=10), classes)


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


def test_noise_starts_at_zero_strength_and_can_be_learned() -> None:
    generator = Generator(spec(1, 28, 28), width=4)
    z = torch.randn(2, 10)
    assert torch.equal(generator(z), generator(z))
    generator(z).sum().backward()
    strengths = [m.noise_strength for m in generator.modules() if isinstance(m, StyledConv)]
    assert all(strength.grad != 0 for strength in strengths)


def test_noise_is_one_map_with_the_learned_deviation_in_evaluation_too() -> None:
    conv = StyledConv(3, 5, 4, (16, 16)).eval()
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


def test_the_slope_of_a_slope_agrees_with_finite_differences() -> None:
    maps = torch.randn(1, 2, 6, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(Halving(2, 3).double(), (maps,))


def test_the_mapping_network_learns_a_hundredth_as_fast() -> None:
    layers = Generator(spec(1, 28, 28), width=4, style=8).mapping.layers[::2]
    factors = [layer.parametrizations.weight[0].factor * layer.in_features**0.5 for layer in layers]
    assert factors == pytest.approx([0.01] * 8)


def one_by_one(conv: ModulatedConv2d, maps: Tensor, w: Tensor) -> Tensor:
    """The paper's two equations, image by image."""
    results = []
    for image, code in zip(maps, w, strict=True):
        style = conv.affine.weight @ code + conv.affine.bias
        weight = style[None, :, None, None] * conv.weight
        if conv.demodulate:
            weight = weight / (weight.square().sum((1, 2, 3), keepdim=True) + 1e-8).sqrt()
        results.append(conv2d(image[None], weight, padding=conv.padding))
    return torch.cat(results)


@pytest.mark.parametrize("demodulate", [True, False])
@pytest.mark.parametrize("kernel", [1, 3])
def test_one_convolution_for_all_is_one_for_each(kernel: int, demodulate: bool) -> None:
    conv = ModulatedConv2d(5, 7, 6, kernel=kernel, demodulate=demodulate).double()
    maps, w = torch.randn(4, 5, 6, 8, dtype=torch.float64), torch.randn(4, 6, dtype=torch.float64)
    assert torch.allclose(conv(maps, w), one_by_one(conv, maps, w), atol=1e-10)


def test_doubling_is_a_convolution_over_zeros_in_between_then_the_blur() -> None:
    conv = ModulatedConv2d(3, 4, 6, up=True)
    maps, w = torch.randn(2, 3, 5, 7), torch.randn(2, 6)
    sparse = torch.zeros(2, 3, 9, 13)
    sparse[..., ::2, ::2] = maps
    flipped = copy.deepcopy(conv)
    flipped.blur, flipped.padding = None, 2
    with torch.no_grad():  # a transposed convolution turns the kernel round
        flipped.parametrizations.weight.original.copy_(conv.parametrizations.weight.original.flip(2, 3))
    assert conv(maps, w).shape == (2, 4, 10, 14)
    assert torch.allclose(conv(maps, w), conv.blur(one_by_one(flipped, sparse, w)), atol=1e-4)


@pytest.mark.parametrize("size", [0.1, 1.0, 30.0])
def test_demodulated_maps_have_unit_variance_whatever_the_style(size: float) -> None:
    conv = ModulatedConv2d(32, 16, 8)
    out = conv(torch.randn(64, 32, 12, 12), size * torch.randn(64, 8))[..., 1:-1, 1:-1]
    assert out.var(dim=(0, 2, 3)).sub(1).abs().max() < 0.05
    plain = ModulatedConv2d(32, 16, 8, demodulate=False)
    assert plain(torch.randn(64, 32, 12, 12), 30 * torch.randn(64, 8)).var() > 100


@pytest.mark.parametrize("up", [True, False])
def test_second_derivatives_agree_with_finite_differences(up: bool) -> None:
    conv = ModulatedConv2d(2, 3, 2, up=up).double()
    maps = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    w = torch.randn(2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(conv, (maps, w))


def test_weights_are_kept_at_unit_size_and_used_at_he_s() -> None:
    layer = equalised(nn.Conv2d(20, 300, 3))
    stored = layer.parametrizations.weight.original
    assert stored.std().item() == pytest.approx(1, rel=0.02)
    assert torch.allclose(layer.weight, stored / math.sqrt(20 * 9))
    assert (layer.bias == 0).all()
    assert set(dict(layer.named_parameters())) == {"bias", "parametrizations.weight.original"}


def test_an_adam_step_is_as_large_as_the_rate_and_the_fan_in_say() -> None:
    layer = equalised(nn.Linear(16, 4), rate=0.01)
    before = layer.weight.detach().clone(), layer.bias.detach().clone()
    assert before[0].std().item() == pytest.approx(1 / 4, rel=0.3), "the rate does not change what is computed"
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.5)
    layer(torch.ones(1, 16)).sum().backward()
    optimizer.step()  # the first step of Adam moves each stored number by lr
    assert torch.allclose(before[0] - layer.weight, torch.full((4, 16), 0.5 * 0.01 / 4), rtol=1e-3)
    assert torch.allclose(before[1] - layer.bias, torch.full((4,), 0.5 * 0.01), rtol=1e-3)


def test_the_activation_keeps_about_the_size() -> None:
    assert torch.equal(Activation()(torch.tensor([1.0, -1.0])), torch.tensor([1.0, -0.2]) * math.sqrt(2))
    assert Activation()(torch.randn(100_000)).square().mean().item() == pytest.approx(1.04, rel=0.02)


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The noise that a penalty draws after this seed, scaled by 1 / √pixels."""
    torch.manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64) / math.sqrt(shape[-2] * shape[-1])


def lengths(synthesis, w: Tensor) -> Tensor:
    torch.manual_seed(0)
    return path_lengths(synthesis, w)


def test_every_layer_has_its_own_w_and_the_length_is_the_root_mean_square_over_them() -> None:
    """As in the authors' code: √(mean over layers of Σ (∂(g·y)/∂w_l)²)."""
    generator = Generator(Spec((1, 12, 12), GaussianPrior(dim=6)), width=2, style=4, noise=False)
    synthesis, w = generator.synthesis, torch.randn(3, 4)
    ws = w[:, None].expand(-1, synthesis.layers, -1)
    assert torch.equal(synthesis(ws), synthesis(w))
    copies = [w.clone().requires_grad_() for _ in range(synthesis.layers)]
    torch.manual_seed(0)
    noise = torch.randn(3, 1, 12, 12) / 12
    slopes = torch.autograd.grad((synthesis(torch.stack(copies, 1)) * noise).sum(), copies)
    squares = torch.stack([slope.square().sum(1) for slope in slopes])
    assert (squares > 0).all()
    assert torch.allclose(lengths(synthesis, ws), squares.mean(0).sqrt())
    together = torch.stack(slopes).sum(0).square().sum(1).sqrt()
    assert torch.allclose(lengths(synthesis, w), together, rtol=1e-4)


class Curved(nn.Module):
    """A generator with a mapping network, as StyleGAN2's has."""

    def __init__(self) -> None:
        super().__init__()
        self.mapping = nn.Linear(3, 4).double()
        self.synthesis = nn.Sequential(nn.Linear(4, 9), nn.Tanh(), nn.Unflatten(1, (1, 3, 3))).double()


def penalty(context, regularizer: PathLength, generator: nn.Module, z: Tensor, **more: object) -> Tensor:
    torch.manual_seed(0)
    nothing = torch.zeros(len(z), 1, 3, 3)
    return regularizer.penalty(context(lambda x: x, nothing, nothing, z=z, networks={"generator": generator}, **more))


def test_its_slope_agrees_with_finite_differences_in_both_networks(context) -> None:
    generator, z, regularizer = Curved(), torch.randn(5, 3, dtype=torch.float64), PathLength().double()
    penalty(context, regularizer, generator, z).backward()
    held = regularizer.average.clone()

    def value() -> float:
        return (lengths(generator.synthesis, generator.mapping(z)) - held).square().mean().item()

    for weight in (generator.mapping.weight, generator.synthesis[0].weight):
        weight.data[0, 0] += 1e-6
        above = value()
        weight.data[0, 0] -= 2e-6
        below = value()
        weight.data[0, 0] += 1e-6
        assert weight.grad[0, 0].item() == pytest.approx((above - below) / 2e-6, rel=1e-4)


def test_lengths_are_compared_with_their_moving_average(context) -> None:
    generator, z, regularizer = Curved(), torch.randn(5, 3, dtype=torch.float64), PathLength(decay=0.75).double()
    found = lengths(generator.synthesis, generator.mapping(z))
    average = torch.zeros((), dtype=torch.float64)
    for _ in range(3):
        average = 0.75 * average + 0.25 * found.mean()
        expected = (found - average).square().mean().item()
        assert penalty(context, regularizer, generator, z).item() == pytest.approx(expected)
        assert regularizer.average.item() == pytest.approx(average.item())
    assert not regularizer.average.requires_grad


def test_a_generator_without_a_mapping_network_is_measured_at_its_code(context) -> None:
    generator, z = nn.Sequential(nn.Linear(3, 9), nn.Unflatten(1, (1, 3, 3))).double(), torch.randn(5, 3).double()
    regularizer = PathLength(decay=0.0).double()
    value = penalty(context, regularizer, generator, z, generate=generator)
    found = (drawn((5, 1, 3, 3)).flatten(1) @ generator[0].weight).square().sum(1).sqrt()
    assert value.item() == pytest.approx(found.var(correction=0).item())


def test_it_trains_the_embedding_of_stylegan2_s_labels(context) -> None:
    spec = Spec((1, 12, 12), GaussianPrior(dim=6), 3)
    generator, label = Generator(spec, width=2, style=4), torch.tensor([0, 1, 2])
    penalty(context, PathLength(), generator, torch.randn(3, 6), condition=(label,)).backward()
    assert generator.mapping.embedding.parametrizations.weight.original.grad.abs().sum() > 0
