"""Losses on logits: the formulas of their papers in probabilities, and what their theorems say of the best players."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from ganzoo import AdversarialLoss
from ganzoo_plugins.losses.boundary_seeking import BoundarySeeking
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
from ganzoo_plugins.losses.hinge import Hinge
from ganzoo_plugins.losses.least_squares import LeastSquares
from ganzoo_plugins.losses.relativistic import (
    Relativistic,
    RelativisticAverage,
    RelativisticAverageHinge,
    RelativisticAverageLeastSquares,
)
from ganzoo_plugins.losses.softmax_gan import Softmax
from ganzoo_plugins.losses.vanilla import Minimax, NonSaturating
from ganzoo_plugins.losses.wgan_gp import Wasserstein
from ganzoo_plugins.networks.r3gan import RelativisticPairing

Formula = Callable[[Tensor, Tensor], Tensor]


def minus_value(real: Tensor, fake: Tensor) -> Tensor:
    """The discriminator's side of the first paper's game."""
    return -real.sigmoid().log().mean() - (1 - fake.sigmoid()).log().mean()


def softmax_cross_entropy(real: Tensor, fake: Tensor, targets: Tensor) -> Tensor:
    """With a softmax over the whole batch, less that of equal shares."""
    shares = torch.cat([real, fake]).softmax(0)
    return -(targets * (shares * len(shares)).log()).sum()


HALF, ALL = torch.tensor([1 / 6] * 6 + [0] * 6).double(), torch.full((12,), 1 / 12).double()
FORMULAS: list[tuple[AdversarialLoss, Formula, Formula]] = [
    (Minimax(), minus_value, lambda real, fake: (1 - fake.sigmoid()).log().mean()),
    (NonSaturating(), minus_value, lambda real, fake: -fake.sigmoid().log().mean()),
    (
        BoundarySeeking(),
        minus_value,
        lambda real, fake: (fake.sigmoid().log() - (1 - fake.sigmoid()).log()).square().mean() / 2,
    ),
    (Hinge(), lambda real, fake: relu(1 - real).mean() + relu(1 + fake).mean(), lambda real, fake: -fake.mean()),
    (
        LeastSquares(),
        lambda real, fake: ((real - 1).square().mean() + fake.square().mean()) / 2,
        lambda real, fake: (fake - 1).square().mean() / 2,
    ),
    (
        LeastSquares(a=-1.0, b=2.0, c=0.5),
        lambda real, fake: ((real - 2).square().mean() + (fake + 1).square().mean()) / 2,
        lambda real, fake: (fake - 0.5).square().mean() / 2,
    ),
    (Wasserstein(), lambda real, fake: fake.mean() - real.mean(), lambda real, fake: -fake.mean()),
    (
        Softmax(),
        lambda real, fake: softmax_cross_entropy(real, fake, HALF),
        lambda real, fake: softmax_cross_entropy(real, fake, ALL),
    ),
    # Each fake with its own real image; the players exchange roles.
    (
        RelativisticPairing(),
        lambda real, fake: -logsigmoid(real - fake).mean(),
        lambda real, fake: -logsigmoid(fake - real).mean(),
    ),
]


@pytest.mark.parametrize(("loss", "discriminator", "generator"), FORMULAS, ids=lambda x: type(x).__name__)
def test_the_formulas(loss: AdversarialLoss, discriminator: Formula, generator: Formula) -> None:
    real, fake = 3 * torch.randn(2, 6, dtype=torch.float64)
    assert torch.allclose(loss.discriminator(real, fake), discriminator(real, fake))
    assert torch.allclose(loss.generator(real if loss.pairs else None, fake), generator(real, fake))


def test_a_wrong_discriminator_pays_its_logits() -> None:
    wrong = Minimax().discriminator(torch.full((4,), -1e4), torch.full((4,), 1e4))
    assert wrong.item() == pytest.approx(2e4)
    assert Minimax().discriminator(torch.full((4,), 1e4), torch.full((4,), -1e4)).item() == 0


P = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
Q = torch.tensor([0.1, 0.35, 0.15, 0.4], dtype=torch.float64)


def one_by_one(call: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    return torch.stack([call(logit[None]) for logit in logits])


def test_the_best_discriminator_makes_the_hinge_loss_total_variation() -> None:
    """min_D is 2 - ∫|p - q|, reached where D is the sign of p - q (Lim & Ye 2017, the proof of theorem 1)."""

    def cost(logits: Tensor) -> Tensor:
        of_real = one_by_one(lambda v: Hinge().discriminator(v, torch.tensor([-9.0])), logits)
        return P @ of_real + Q @ one_by_one(lambda v: Hinge().discriminator(torch.tensor([9.0]), v), logits)

    best = cost((P - Q).sign())
    assert torch.allclose(best, 2 - (P - Q).abs().sum())
    assert all(cost(2 * torch.randn(4).double()) >= best for _ in range(50))


def test_with_equation_8_s_labels_the_least_squares_game_is_pearson_s_divergence() -> None:
    """Theorem of section 3.2: 2 C(G) = χ²(p_data + p_G ‖ 2 p_G), with the best D = (b p + a q)/(p + q)."""
    loss = LeastSquares(a=-1.0, b=1.0, c=0.0)
    best = ((P - Q) / (P + Q)).requires_grad_()
    # C(G) adds the real images' share of G's criterion, 1/2 E_x[(D(x) - c)²], a constant for G.
    criterion = (P + Q) @ one_by_one(lambda v: loss.generator(None, v), best)
    assert torch.allclose(2 * criterion, ((P + Q) - 2 * Q).square().div(P + Q).sum())
    zero = best.new_zeros(1)
    of_real = one_by_one(lambda v: loss.discriminator(v, zero), best)
    of_fake = one_by_one(lambda v: loss.discriminator(zero, v), best)
    (slope,) = torch.autograd.grad(P @ of_real + Q @ of_fake, best)
    assert torch.allclose(slope, torch.zeros(4).double())


def log_sigmoid(x: float) -> float:
    return math.log(1 / (1 + math.exp(-x)))


# f(distance of a real image) and g(distance of a fake) of each form, as section 4 and appendix A write them.
RELATIVISTIC: list[tuple[Relativistic, Callable[[float], float], Callable[[float], float]]] = [
    (RelativisticAverage(), lambda c: -log_sigmoid(c), lambda c: -math.log(1 - 1 / (1 + math.exp(-c)))),
    (RelativisticAverageLeastSquares(), lambda c: (c - 1) ** 2, lambda c: (c + 1) ** 2),
    (RelativisticAverageHinge(), lambda c: max(0.0, 1 - c), lambda c: max(0.0, 1 + c)),
]
forms = pytest.mark.parametrize("loss", [loss for loss, _, _ in RELATIVISTIC], ids=lambda loss: type(loss).__name__)


@pytest.mark.parametrize(("loss", "f", "g"), RELATIVISTIC, ids=lambda x: type(x).__name__)
def test_relativistic_averages_image_by_image(
    loss: Relativistic, f: Callable[[float], float], g: Callable[[float], float]
) -> None:
    real, fake = [1.0, 5.0, -2.0], [0.5, 3.0, 0.25]
    mean_real, mean_fake = sum(real) / 3, sum(fake) / 3
    judged = sum(f(x - mean_fake) for x in real) / 3 + sum(g(y - mean_real) for y in fake) / 3
    fooled = sum(f(y - mean_real) for y in fake) / 3 + sum(g(x - mean_fake) for x in real) / 3
    assert loss.discriminator(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(judged)
    assert loss.generator(torch.tensor(real), torch.tensor(fake)).item() == pytest.approx(fooled)


@forms
def test_the_averages_carry_gradients_and_so_the_total_push_is_nil(loss: Relativistic) -> None:
    """Shifting all logits changes nothing, so all slopes sum to zero; detached means would break this."""
    real = torch.randn(8, dtype=torch.float64, requires_grad=True)
    fake = torch.randn(8, dtype=torch.float64, requires_grad=True)
    for value in (loss.discriminator(real, fake), loss.generator(real, fake)):
        on_real, on_fake = torch.autograd.grad(value, (real, fake))
        assert (on_real.sum() + on_fake.sum()).item() == pytest.approx(0, abs=1e-12)
        assert on_real.abs().sum() > 0


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
