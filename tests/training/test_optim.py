import math

import pytest
import torch
from torch import nn

from ganzoo.training.optim import Ema, RoleOptimizer


def trained(network, optimizer, steps, seed=0):
    random = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        optimizer.inner.zero_grad()
        network(torch.randn(4, 3, generator=random)).square().mean().backward()
        optimizer.inner.step()


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("adam", {"lr": 1e-2, "betas": (0.5, 0.999)}),
        ("adamw", {"lr": 1e-2, "weight_decay": 0.1}),
        ("sgd", {"lr": 1e-2, "momentum": 0.9}),
        ("sgd", {"lr": 1e-2}),
        ("rmsprop", {"lr": 1e-2}),
    ],
)
def test_a_restored_optimizer_goes_on_to_the_same_bits(name, options):
    torch.manual_seed(0)
    first = nn.Linear(3, 2)
    optimizer = RoleOptimizer(first, name, "constant", options)
    trained(first, optimizer, 3)
    second = nn.Linear(3, 2)
    second.load_state_dict(first.state_dict())
    restored = RoleOptimizer(second, name, "constant", options)
    restored.load({key: value.clone() for key, value in optimizer.tensors().items()})
    trained(first, optimizer, 3, seed=1)
    trained(second, restored, 3, seed=1)
    assert torch.equal(first.weight, second.weight)
    assert torch.equal(first.bias, second.bias)


@pytest.mark.parametrize(
    ("decay", "half"), [("constant", 1.0), ("linear", 0.5), ("cosine", (1 + math.cos(math.pi / 2)) / 2)]
)
def test_learning_rates_fall_as_named(decay, half):
    optimizer = RoleOptimizer(nn.Linear(1, 1), "adam", decay, {"lr": 2e-4})
    optimizer.set_progress(0.5)
    assert optimizer.inner.param_groups[0]["lr"] == pytest.approx(2e-4 * half)
    optimizer.set_progress(1.0)
    assert optimizer.inner.param_groups[0]["lr"] == pytest.approx(2e-4 if decay == "constant" else 0.0)


def test_ema_is_the_recursion_it_claims_to_be_and_buffers_are_copied():
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    ema = Ema({"generator": network}, decay=0.6)
    expected = network[0].weight.detach().clone()
    for step in range(8):
        with torch.no_grad():
            network[0].weight.add_(torch.randn(2, 2))
        network(torch.randn(5, 2))
        ema.update(step)
        decay = min(0.6, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * network[0].weight.detach()
    if_first_step_copies = ema.networks["generator"][0].weight
    torch.testing.assert_close(if_first_step_copies, expected)
    assert torch.equal(ema.networks["generator"][1].running_mean, network[1].running_mean)
    assert ema.networks["generator"][1].num_batches_tracked == 8


def test_ema_networks_are_frozen_and_in_evaluation_mode():
    ema = Ema({"generator": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))}, decay=0.9)
    assert not any(p.requires_grad for p in ema.networks.parameters())
    assert not any(module.training for module in ema.networks.modules())
