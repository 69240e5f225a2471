"""Pure maths against numbers worked out by hand and against finite differences."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import gradcheck, gradgradcheck
from torch.utils._python_dispatch import TorchDispatchMode

from ganzoo import functional


def test_squared_norm_sums_over_all_but_the_first_dimension() -> None:
    x = torch.tensor([[[3.0, 4.0]], [[1.0, -2.0]]])
    assert functional.squared_norm(x).tolist() == [25.0, 5.0]


def test_norm_is_euclidean_and_has_a_slope_at_zero() -> None:
    x = torch.tensor([[[3.0, 4.0]], [[0.0, 0.0]]], requires_grad=True)
    length = functional.norm(x)
    assert torch.allclose(length, torch.tensor([5.0, 0.0]), atol=1e-5)
    length.sum().backward()
    assert torch.allclose(x.grad, torch.tensor([[[0.6, 0.8]], [[0.0, 0.0]]]))


def test_interpolate_lies_on_the_line_between_each_pair() -> None:
    real, fake = torch.randn(64, 3, 4, 4), torch.randn(64, 3, 4, 4)
    between = functional.interpolate(real, fake)
    share = (between - real) / (fake - real)
    mix = share.flatten(1).median(dim=1).values
    assert torch.allclose(between, real + mix.view(-1, 1, 1, 1) * (fake - real), atol=1e-5)
    assert 0 <= mix.min() < 0.1
    assert 0.9 < mix.max() <= 1
    assert len(mix.unique()) == 64, "each pair has a point of its own"


def test_input_gradient_of_a_quadratic_critic() -> None:
    x = torch.randn(5, 2, 3, 3)
    gradient = functional.input_gradient(lambda images: images.square().flatten(1).sum(1) / 2, x)
    assert torch.allclose(gradient, x)
    assert not x.requires_grad, "the caller's tensor is left alone"


def test_input_gradient_is_itself_differentiable_twice_over() -> None:
    x = torch.randn(3, 4, dtype=torch.float64)

    def penalty(weight: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        gradient = functional.input_gradient(lambda images: torch.tanh(images @ weight.T) @ out, x)
        return functional.squared_norm(gradient).mean()

    weight = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)
    out = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert gradcheck(penalty, (weight, out))
    assert gradgradcheck(penalty, (weight, out))


def test_input_gradient_works_through_training_batch_normalisation() -> None:
    critic = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(108, 1))
    gradient = functional.input_gradient(lambda x: critic(x).squeeze(1), torch.randn(4, 1, 8, 8))
    functional.squared_norm(gradient).mean().backward()
    assert gradient.abs().sum() > 0
    assert critic[0].weight.grad is not None
    assert torch.isfinite(critic[0].weight.grad).all()


def test_input_gradient_is_single_precision_under_autocast() -> None:
    critic = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    with torch.autocast("cpu", torch.bfloat16):
        gradient = functional.input_gradient(critic, torch.randn(3, 4))
    assert gradient.dtype == torch.float32
    assert torch.allclose(gradient, critic[0].weight.expand(3, 4), atol=1e-2)


@pytest.mark.parametrize(
    ("real", "fake", "expected"),
    [(torch.float32, torch.bfloat16, torch.float32), (torch.float64, torch.float32, torch.float64)],
)
def test_interpolate_keeps_the_higher_precision(real, fake, expected) -> None:
    assert functional.interpolate(torch.zeros(4, 2, dtype=real), torch.ones(4, 2, dtype=fake)).dtype == expected


def test_interpolate_draws_where_the_images_are() -> None:
    real, fake = torch.zeros(4, 2), torch.ones(4, 2)
    with torch.device("meta"):
        assert functional.interpolate(real, fake).device == real.device


def test_one_hot_is_torch_s_and_does_not_look_at_values() -> None:
    index = torch.tensor([[2, 0], [1, 2]])
    assert torch.equal(functional.one_hot(index, 3), torch.nn.functional.one_hot(index, 3))
    assert functional.one_hot(torch.tensor([3, -1]), 3).tolist() == [[0, 0, 0]] * 2
    with FakeTensorMode(allow_non_fake_inputs=True):
        assert functional.one_hot(index, 3).shape == (2, 2, 3)


SIZES = [(3, 1, 1, 4), (4, 2, 0, 2), (3, 2, 1, 1), (5, 1, 0, 3)]


def grouped(kernel: int, per_group: int, groups: int) -> tuple[torch.Tensor, torch.Tensor]:
    maps = torch.randn(2, per_group * groups, 5, 6, dtype=torch.float64, requires_grad=True)
    return maps, torch.randn(2 * groups, per_group, kernel, kernel, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize(("kernel", "per_group", "padding", "groups"), SIZES)
def test_the_convolution_in_groups_and_its_derivatives_are_torch_s(kernel, per_group, padding, groups) -> None:
    maps, weight = grouped(kernel, per_group, groups)
    found = []
    for convolve in (
        lambda x, w: functional._convolution(x, w, None, None, padding, groups),
        lambda x, w: nn.functional.conv2d(x, w, padding=padding, groups=groups),
    ):
        result = convolve(maps, weight)
        slopes = torch.autograd.grad(result.tanh().sum(), (maps, weight), create_graph=True)
        penalty = slopes[0].square().sum() + slopes[1].cos().sum()
        found.append([result, *slopes, *torch.autograd.grad(penalty, (maps, weight))])
    for ours, torchs in zip(*found, strict=True):
        assert torch.allclose(ours, torchs, rtol=1e-10, atol=1e-10)


class Counted(TorchDispatchMode):
    calls = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.calls += 1
        return func(*args, **(kwargs or {}))


def test_away_from_the_cpu_a_penalty_takes_as_many_calls_for_many_groups_as_for_one() -> None:
    def calls(groups: int) -> int:
        maps, weight = (leaf.to("meta").float().detach().requires_grad_() for leaf in grouped(3, 2, groups))
        bias = torch.zeros(2 * groups, device="meta")

        def critic(x: torch.Tensor) -> torch.Tensor:
            result = functional.grouped_conv2d(x, weight, bias, padding=1, groups=groups)
            assert result.shape == (2, 2 * groups, 5, 6)
            return result.tanh().flatten(1).sum(1)

        with Counted() as counted:
            functional.squared_norm(functional.input_gradient(critic, maps)).sum().backward()
        assert weight.grad.shape == weight.shape
        return counted.calls

    assert calls(64) == calls(1)


def test_on_the_cpu_a_convolution_in_groups_is_torch_s_to_the_bit() -> None:
    maps, weight = grouped(3, 2, 4)
    bias = torch.randn(8, dtype=torch.float64)
    ours = functional.grouped_conv2d(maps, weight, bias, padding=1, groups=4)
    assert torch.equal(ours, nn.functional.conv2d(maps, weight, bias, padding=1, groups=4))
