"""Convolutions with the channels last: where they can be, and to the same result."""

import pytest
import torch
from torch import nn

from ganzoo.build import channels_last
from ganzoo.errors import GanzooError
from ganzoo.training.optim import RoleOptimizer


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 3), nn.Flatten())


def lies_last(weight):
    return weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()


def test_maps_lie_last_and_values_stay():
    images, one, other = torch.randn(2, 3, 9, 9), network(), network()
    channels_last(nn.ModuleList([other]), lambda: None)
    assert lies_last(other[0].weight)
    assert lies_last(other[0](images))
    assert not lies_last(one[0](images))
    torch.testing.assert_close(one(images), other(images))


def test_where_vectors_become_maps_or_maps_vectors_layouts_are_joined():
    """Values, gradients and second derivatives stay; what an activation is given, forwards and backwards, lies last."""

    class Watch(torch.autograd.Function):
        @staticmethod
        def forward(ctx, maps):
            seen.append(maps)
            return maps.clone()

        @staticmethod
        def backward(ctx, gradient):
            seen.append(gradient)
            return gradient

    class Watched(nn.ReLU):
        def forward(self, maps):
            return Watch.apply(super().forward(maps))

    def vector_to_vector():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Linear(3, 4 * 9), nn.Unflatten(1, (4, 3, 3)), Watched(), nn.Conv2d(4, 4, 2), Watched(), nn.Flatten()
        )

    def derivatives(network):
        leaf = codes.clone().requires_grad_()
        (first,) = torch.autograd.grad(network(leaf).square().sum(), leaf, create_graph=True)
        return [first, *torch.autograd.grad(first.square().sum(), list(network.parameters())[:3])]

    codes, seen = torch.randn(5, 3), []
    plain, joined = vector_to_vector(), vector_to_vector()
    channels_last(nn.ModuleList([joined]), lambda: None)
    expected = derivatives(plain)
    assert not all(lies_last(maps) for maps in seen)
    seen.clear()
    for ours, theirs in zip(derivatives(joined), expected, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert len(seen) >= 4
    assert all(lies_last(maps) for maps in seen)


def test_a_network_that_fails_so_is_left_as_it_was():
    class Viewing(nn.Sequential):
        def forward(self, images):
            maps = super().forward(images)
            return maps.view(len(maps), -1)

    viewing = Viewing(nn.Conv2d(3, 8, 3))

    def probe():
        try:
            viewing(torch.randn(2, 3, 9, 9))
        except RuntimeError as error:
            raise GanzooError(str(error), "") from error

    channels_last(nn.ModuleList([viewing]), probe)
    assert viewing[0].weight.is_contiguous()
    probe()


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd", "rmsprop"])
def test_optimizers_go_on_to_the_bit_from_state_that_was_saved_in_order(name):
    """A fused step goes through memory as it lies, and a file holds tensors in the order of their indices."""
    options = {"lr": 0.01, **({"momentum": 0.9} if name == "sgd" else {})}
    images = torch.randn(4, 3, 9, 9)
    nets, optimizers = [], []
    for _ in range(2):
        net = network()
        channels_last(nn.ModuleList([net]), lambda: None)
        nets.append(net)
        optimizers.append(RoleOptimizer(net, name, options))

    def step(net, optimizer):
        net(images).square().mean().backward()
        optimizer.inner.step()
        optimizer.inner.zero_grad()

    for _ in range(3):
        step(nets[0], optimizers[0])
    nets[1].load_state_dict({key: value.contiguous() for key, value in nets[0].state_dict().items()})
    optimizers[1].load(
        {key: value.clone(memory_format=torch.contiguous_format) for key, value in optimizers[0].tensors().items()}
    )
    for net, optimizer in zip(nets, optimizers, strict=True):
        step(net, optimizer)
    for one, other in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(one, other)
