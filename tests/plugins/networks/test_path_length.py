"""Path length regularization on a linear generator, whose Jacobian is known, and by finite differences."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.stylegan2 import Generator, PathLength, path_lengths


def drawn(shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """The noise that a penalty draws after this seed, scaled by 1 / √pixels."""
    torch.manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64) / math.sqrt(shape[-2] * shape[-1])


def lengths(synthesis, w: Tensor) -> Tensor:
    torch.manual_seed(0)
    return path_lengths(synthesis, w)


def test_a_curved_generator_agrees_with_finite_differences() -> None:
    layers = nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Unflatten(1, (1, 4, 4))).double()
    w, noise = torch.randn(5, 3, dtype=torch.float64), drawn((5, 1, 4, 4))
    steps = 1e-6 * torch.eye(3, dtype=torch.float64)
    slopes = [((layers(w + step) - layers(w - step)) * noise).flatten(1).sum(1) / 2e-6 for step in steps]
    assert torch.allclose(lengths(layers, w), torch.stack(slopes).square().sum(0).sqrt(), atol=1e-8)


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
