"""Unrolled GAN: its gradient against finite differences of steps made by hand, and who is moved."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, GaussianPrior, Spec
from ganzoo_plugins.losses.vanilla import Minimax, NonSaturating
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.objectives.unrolled import Unrolled

SPEC = Spec((1, 1, 2), GaussianPrior(dim=1))


class Line(nn.Module):
    """G(z) = (a z, b), in two pixels."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.tensor([0.8, -0.3], dtype=dtype))

    def forward(self, z: Tensor) -> Tensor:
        a, b = self.weights
        return torch.stack([a * z[:, 0], b.expand(len(z))], dim=1).view(-1, 1, 1, 2)


class Bowl(nn.Module):
    """D(x) = w · x + v (x · x), whose slope in its parameters depends on x."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor([0.5, -0.4], dtype=dtype))
        self.v = nn.Parameter(torch.tensor(0.3, dtype=dtype))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        return flat @ self.w + self.v * flat.square().sum(1)


def by_hand(weights: Tensor, real: Tensor, z: Tensor, steps: int, size: float, saturates: bool) -> float:
    """The surrogate in double precision, every derivative of D written out."""
    fake = torch.stack([weights[0] * z[:, 0], weights[1].expand(len(z))], dim=1)
    x = real.flatten(1)
    w, v = torch.tensor([0.5, -0.4], dtype=torch.float64), torch.tensor(0.3, dtype=torch.float64)

    def logits(points: Tensor) -> Tensor:
        return points @ w + v * points.square().sum(1)

    for _ in range(steps):
        # f = E log sigmoid(D(x)) + E log(1 - sigmoid(D(g))), so df/dD(x) = 1 - sigmoid and df/dD(g) = -sigmoid.
        up, down = 1 - logits(x).sigmoid(), -logits(fake).sigmoid()
        slope_w = (up[:, None] * x).mean(0) + (down[:, None] * fake).mean(0)
        slope_v = (up * x.square().sum(1)).mean() + (down * fake.square().sum(1)).mean()
        w, v = w + size * slope_w, v + size * slope_v
    if not saturates:
        return -logits(fake).sigmoid().log().mean().item()
    return (logits(x).sigmoid().log().mean() + (1 - logits(fake).sigmoid()).log().mean()).item()


def given(n: int = 6) -> Batch:
    return Batch(torch.randn(n, 1, 1, 2), torch.zeros(n, dtype=torch.int64), torch.randn(n, 1))


def slope(objective: Unrolled, batch: Batch) -> tuple[float, Tensor]:
    objective.bind(SPEC, {})
    generator = Line(torch.float32)
    networks = {"generator": generator, "discriminator": Bowl(torch.float32).requires_grad_(False)}
    loss = objective.generator_loss(networks, batch)["loss"]
    loss.backward()
    return loss.item(), generator.weights.grad


@pytest.mark.parametrize("kind", ["minimax", "non-saturating"])
@pytest.mark.parametrize("steps", [0, 1, 3])
def test_the_gradient_is_that_of_finite_differences_through_all_steps(kind: str, steps: int) -> None:
    batch = given()
    value, gradient = slope(Unrolled(steps=steps, step_size=0.7, generator=kind), batch)
    real, z = batch.real.double(), batch.z.double()
    weights, tiny = torch.tensor([0.8, -0.3], dtype=torch.float64), 1e-6

    def at(moved: Tensor) -> float:
        return by_hand(moved, real, z, steps, 0.7, kind == "minimax")

    differences = [(at(weights + tiny * one) - at(weights - tiny * one)) / (2 * tiny) for one in torch.eye(2).double()]
    assert value == pytest.approx(at(weights), rel=1e-5)
    assert gradient.tolist() == pytest.approx(differences, rel=1e-3, abs=1e-6)


def built(**options: object) -> tuple[Unrolled, nn.ModuleDict, Batch]:
    spec = Spec((1, 4, 4), GaussianPrior(dim=3))
    objective = Unrolled(**options)
    networks = nn.ModuleDict(
        {"generator": Generator(spec, hidden=[8]), "discriminator": Discriminator(spec, hidden=[8, 6])}
    )
    objective.bind(spec, networks)
    return objective, networks, Batch(torch.rand(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))


@pytest.mark.parametrize(("kind", "known"), [("minimax", Minimax()), ("non-saturating", NonSaturating())])
def test_the_discriminator_plays_the_ordinary_game(kind: str, known: Minimax) -> None:
    objective, networks, batch = built(steps=0, generator=kind)
    real, fake = networks["discriminator"](batch.real), networks["discriminator"](networks["generator"](batch.z))
    assert torch.allclose(objective.discriminator_loss(networks, batch)["loss"], known.discriminator(real, fake))


def test_the_discriminator_itself_is_not_moved_in_the_generator_s_turn() -> None:
    objective, networks, batch = built(steps=4)
    before = [p.detach().clone() for p in networks["discriminator"].parameters()]
    objective.generator_loss(networks, batch)["loss"].backward()
    assert all(torch.equal(p, q) for p, q in zip(before, networks["discriminator"].parameters(), strict=True))
