"""The f-GAN family against table 2 of the paper and against the divergences themselves."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from ganzoo_plugins.losses.f_gan import (
    KL,
    FGan,
    Hellinger,
    JensenShannon,
    Pearson,
    ReverseKL,
    TotalVariation,
    bounded_exp,
)

P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.35, 0.15, 0.4], dtype=torch.float64)


@dataclass
class Row:
    """What is known of a divergence apart from the page: f, f', f* as the paper prints it, and D_f directly."""

    loss: FGan
    f: Callable[[Tensor], Tensor]
    slope: Callable[[Tensor], Tensor]
    conjugate: Callable[[Tensor], Tensor]
    divergence: float
    best: Callable[[Tensor], Tensor]


def kl(p: Tensor, q: Tensor) -> float:
    return float((p * (p / q).log()).sum())


ROWS = {
    "kl": Row(
        KL(), lambda u: u * u.log(), lambda u: 1 + u.log(), lambda t: (t - 1).exp(), kl(P, Q), lambda u: 1 + u.log()
    ),
    "reverse-kl": Row(
        ReverseKL(), lambda u: -u.log(), lambda u: -1 / u, lambda t: -1 - (-t).log(), kl(Q, P), torch.log
    ),
    "pearson": Row(
        Pearson(),
        lambda u: (u - 1) ** 2,
        lambda u: 2 * (u - 1),
        lambda t: t**2 / 4 + t,
        float(((P - Q) ** 2 / Q).sum()),
        lambda u: 2 * (u - 1),
    ),
    "hellinger": Row(
        Hellinger(),
        lambda u: (u.sqrt() - 1) ** 2,
        lambda u: 1 - u**-0.5,
        lambda t: t / (1 - t),
        float(((P.sqrt() - Q.sqrt()) ** 2).sum()),
        lambda u: u.log() / 2,
    ),
    "jensen-shannon": Row(
        JensenShannon(),
        lambda u: u * u.log() - (u + 1) * ((u + 1) / 2).log(),
        lambda u: u.log() - ((u + 1) / 2).log(),
        lambda t: -(2 - t.exp()).log(),
        kl(P, (P + Q) / 2) + kl(Q, (P + Q) / 2),
        torch.log,
    ),
}
rows = pytest.mark.parametrize("row", ROWS.values(), ids=ROWS.keys())
losses = pytest.mark.parametrize(
    "loss", [*(row.loss for row in ROWS.values()), TotalVariation()], ids=[*ROWS, "total-variation"]
)


def bound(loss: FGan, v: Tensor) -> Tensor:
    """F for logits v at the four places that P and Q live on, through the loss itself, one place at a time."""
    costs = [loss.discriminator(x[None], v[:1]) for x in v]
    of_real = torch.stack(costs) - loss.conjugate(v[:1])
    costs = [loss.discriminator(v[:1], x[None]) for x in v]
    of_fake = torch.stack(costs) + loss.activation(v[:1])
    return -(P @ of_real.flatten() + Q @ of_fake.flatten())


@rows
def test_the_bound_is_the_divergence_at_the_best_logits(row: Row) -> None:
    v = row.best(P / Q).requires_grad_()
    value = bound(row.loss, v)
    assert value.item() == pytest.approx(row.divergence)
    assert value.item() == pytest.approx(float((Q * row.f(P / Q)).sum())), "f is the divergence's"
    (slope,) = torch.autograd.grad(value, v)
    assert torch.allclose(slope, torch.zeros(4, dtype=torch.float64), atol=1e-9)


@rows
def test_the_activation_reaches_the_slope_of_f(row: Row) -> None:
    """T* = f'(p/q), equation 5."""
    u = torch.tensor([0.01, 0.5, 1.0, 3.0, 40.0], dtype=torch.float64)
    assert torch.allclose(row.loss.activation(row.best(u)), row.slope(u))


@rows
def test_the_conjugate_is_the_one_of_table_2(row: Row) -> None:
    v = torch.linspace(-4, 4, 17, dtype=torch.float64)
    assert torch.allclose(row.loss.conjugate(v), row.conjugate(row.loss.activation(v)))


def test_total_variation_is_approached_by_saturated_logits() -> None:
    distance = float((P - Q).abs().sum() / 2)
    loss = TotalVariation()
    assert bound(loss, 1e4 * (P - Q).sign()).item() == pytest.approx(distance)
    assert all(bound(loss, 3 * torch.randn(4, dtype=torch.float64)) < distance for _ in range(50))
    v = torch.randn(9)
    assert torch.equal(loss.conjugate(v), loss.activation(v)), "f*(t) = t"
    assert loss.activation(torch.tensor([-1e4, 1e4])).tolist() == [-0.5, 0.5]


@losses
def test_the_generator_s_two_losses(loss: FGan) -> None:
    fake = torch.randn(6)
    assert torch.equal(loss.generator(None, fake), -loss.conjugate(fake).mean())
    other = type(loss)(non_saturating=True)
    assert torch.equal(other.generator(None, fake), -loss.activation(fake).mean())
    assert torch.equal(other.discriminator(fake, fake + 1), loss.discriminator(fake, fake + 1))


def test_the_exponential_is_exact_up_to_20_and_its_tangent_beyond() -> None:
    x = torch.tensor([-1e4, -3.0, 0.0, 19.9, 20.0], dtype=torch.float64)
    assert torch.allclose(bounded_exp(x), x.exp())
    beyond = torch.tensor([25.0, 1e4], dtype=torch.float64, requires_grad=True)
    value = bounded_exp(beyond)
    assert torch.allclose(value, math.exp(20) * (beyond - 19))
    (slope,) = torch.autograd.grad(value.sum(), beyond)
    assert torch.allclose(slope, torch.full((2,), math.exp(20), dtype=torch.float64))
