"""Losses on logits: the formulas of their papers in probabilities, and what their theorems say of the best players."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, relu

from ganzoo import AdversarialLoss
from ganzoo_plugins.losses.boundary_seeking import BoundarySeeking
from ganzoo_plugins.losses.hinge import Hinge
from ganzoo_plugins.losses.least_squares import LeastSquares
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


P = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
Q = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def one_by_one(call: Callable[[Tensor], Tensor], logits: Tensor) -> Tensor:
    return torch.stack([call(logit[None]) for logit in logits])


def test_at_the_best_discriminator_boundary_seeking_measures_the_log_ratio() -> None:
    """D* = p/(p + q) has the logit log(p/q), so the loss is E_q[log²(p/q)]/2, zero for p = q alone."""
    losses = one_by_one(lambda v: BoundarySeeking().generator(None, v), torch.logit(P / (P + Q)))
    assert torch.allclose(Q @ losses, (Q * (P / Q).log().square()).sum() / 2)


def test_the_best_discriminator_makes_the_hinge_loss_total_variation() -> None:
    """min_D is 2 - ∫|p - q|, reached where D is the sign of p - q (Lim & Ye 2017, the proof of theorem 1)."""

    def cost(logits: Tensor) -> Tensor:
        of_real = one_by_one(lambda v: Hinge().discriminator(v, torch.tensor([-9.0])), logits)
        return P @ of_real + Q @ one_by_one(lambda v: Hinge().discriminator(torch.tensor([9.0]), v), logits)

    best = cost((P - Q).sign())
    assert torch.allclose(best, 2 - (P - Q).abs().sum())
    assert all(cost(2 * torch.randn(3).double()) >= best for _ in range(50))


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
    assert torch.allclose(slope, torch.zeros(3).double())
