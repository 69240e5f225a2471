"""Penalties on the gradient of a critic, on critics whose gradient is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.autograd import gradcheck

from ganzoo import AdversarialGame, Augmentation, Batch, GaussianPrior, Regularizer, Spec
from ganzoo.config.loading import load_recipe
from ganzoo_plugins.losses.wgan_gp import GradientPenalty, Wasserstein
from ganzoo_plugins.regularizers.dragan import Dragan
from ganzoo_plugins.regularizers.js_regularizer import JSRegularizer
from ganzoo_plugins.regularizers.r1 import R1, R2
from ganzoo_plugins.regularizers.wgan_div import WassersteinDivergence
from ganzoo_plugins.regularizers.wgan_lp import LipschitzPenalty
from ganzoo_plugins.regularizers.zero_centred import ZeroCentredPenalty

PENALTIES = [
    *(GradientPenalty(), LipschitzPenalty(), WassersteinDivergence(), Dragan(strength=0.0), ZeroCentredPenalty()),
    *(R1(), R2()),
]
every_penalty = pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)


def images(n: int = 6) -> Tensor:
    return torch.randn(n, 1, 2, 2, dtype=torch.float64)


@pytest.mark.parametrize(
    ("penalty", "at_half", "at_three"),
    [
        (LipschitzPenalty(), 0.0, 4.0),
        (LipschitzPenalty(target=0.25), 0.0625, 2.75**2),
        (LipschitzPenalty(target=2.0), 0.0, 1.0),
        (WassersteinDivergence(), 0.5**6, 3.0**6),
        (WassersteinDivergence(power=2.0), 0.25, 9.0),
        (Dragan(), 0.25, 4.0),
        (Dragan(target=2.0), 2.25, 1.0),
        (ZeroCentredPenalty(), 0.25, 9.0),
        (GradientPenalty(), 0.25, 4.0),
        (GradientPenalty(target=0.0), 0.25, 9.0),
        (GradientPenalty(one_sided=True), 0.0, 4.0),
        (R1(), 0.125, 4.5),
        (R2(), 0.125, 4.5),
    ],
)
def test_a_linear_critic_s_gradient_is_its_weight(
    penalty: Regularizer, at_half: float, at_three: float, context
) -> None:
    direction = torch.tensor([0.6, 0.0, 0.8, 0.0], dtype=torch.float64)
    for length, expected in ((0.5, at_half), (3.0, at_three)):
        weight = direction * length
        value = penalty.penalty(context(lambda x, weight=weight: x.flatten(1) @ weight, images(), images()))
        assert value.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("penalty", "expected"),
    [
        # D = x²/2 has gradient x; x is uniform in [0, 4] between real and fake.
        (GradientPenalty(), 28 / 12),
        (LipschitzPenalty(), 27 / 12),
        (WassersteinDivergence(), 4**6 / 7),
        (ZeroCentredPenalty(), 16 / 3),
    ],
)
def test_gradients_are_measured_between_real_and_fake(penalty: Regularizer, expected: float, context) -> None:
    real, fake = torch.zeros(50_000, 1, 1, 1), torch.full((50_000, 1, 1, 1), 4.0)
    seen = context(lambda x: x.square().flatten(1).sum(1) / 2, real, fake)
    assert penalty.penalty(seen).item() == pytest.approx(expected, rel=0.03)


def test_r1_looks_at_real_and_r2_at_fake(context) -> None:
    real, fake = images(), images()
    seen = context(lambda x: x.square().flatten(1).sum(1) / 2, real, fake)
    assert torch.allclose(R1().penalty(seen), real.square().flatten(1).sum(1).mean() / 2)
    assert torch.allclose(R2().penalty(seen), fake.square().flatten(1).sum(1).mean() / 2)


@pytest.mark.parametrize("penalty", [R1(), R2()])
def test_squares_of_half_precise_images_are_added_up_in_float32(penalty: R1, context) -> None:
    """With D(x) = |x|²/2 the penalty is |x|²/2 too, of 2049 ones, a number that bfloat16 does not have."""
    ones = torch.ones(2, 1, 1, 2049, dtype=torch.bfloat16)
    found = penalty.penalty(context(lambda x: x.square().flatten(1).sum(1) / 2, ones, ones))
    assert found.dtype == torch.float32
    assert found.item() == 2049 / 2


def test_dragan_looks_around_real_images_alone(context) -> None:
    real = torch.tensor([-1.0, 1.0]).repeat(25_000).view(-1, 1, 1, 1)
    seen = context(lambda x: x.square().flatten(1).sum(1) / 2, real, torch.full_like(real, torch.nan))
    value = Dragan(strength=0.5, target=0.0).penalty(seen).item()
    # The gradient is x + δ, δ = 0.5 α u, with α and u uniform: E[δ²] = 1/4 · 1/9, and x = ±1 averages 2xδ away.
    assert value == pytest.approx(1 + 1 / 36, rel=0.01)


@pytest.mark.parametrize("penalty", [*PENALTIES, JSRegularizer()], ids=lambda p: type(p).__name__)
def test_the_critic_s_gradient_agrees_with_finite_differences(penalty: Regularizer, context) -> None:
    real = images()  # real and fake agree, so that only the weights vary

    def value(weight: Tensor, out: Tensor) -> Tensor:
        return penalty.penalty(context(lambda x: torch.tanh(x.flatten(1) @ weight) @ out, real, real.clone()))

    weight = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    out = 2 + torch.rand(3, dtype=torch.float64)
    assert value(weight, out) > 0
    assert gradcheck(value, (weight, out.requires_grad_()))


@every_penalty
def test_a_dead_critic_has_a_finite_gradient(penalty: Regularizer, context) -> None:
    weight = torch.zeros(4, dtype=torch.float64, requires_grad=True)
    value = penalty.penalty(context(lambda x: x.flatten(1) @ weight, images(), images()))
    value.backward()
    assert torch.isfinite(weight.grad).all()


class Half(Augmentation):
    """Hides the right half of each image and doubles the left."""

    def forward(self, images: Tensor) -> Tensor:
        return images * torch.tensor([2.0, 0.0])


class Linear(nn.Module):
    """D(x) = w·x, whose gradient norm at T(x) is |w|, and through ``Half`` 2 |w_left|."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([[0.5, 7.0], [0.0, 9.0]]))

    def forward(self, images: Tensor) -> Tensor:
        return (images * self.weight).sum((1, 2, 3))


class Constant(nn.Module):
    def forward(self, z: Tensor) -> Tensor:
        return torch.zeros(len(z), 1, 2, 2)


@pytest.mark.parametrize(
    ("penalty", "expected", "every_steps"),
    [
        # Through T the gradient norm is 2 · 0.5 = 1 wherever it is taken.
        (R1, 1 / 2, 1),
        (R1, 1 / 2, 4),
        (R2, 1 / 2, 4),
        (GradientPenalty, 0.0, 1),
        (LipschitzPenalty, 0.0, 1),
        (WassersteinDivergence, 1.0, 1),
        (Dragan, 0.0, 1),
        # The fakes are zeros, where D(T(x)) = 0 and σ = 1/2; so are the real images here.
        (JSRegularizer, 1 / 4, 1),
        (ZeroCentredPenalty, 1.0, 1),
    ],
)
def test_under_an_augmentation_the_gradient_is_that_of_both_together(
    penalty: type[Regularizer], expected: float, every_steps: int
) -> None:
    spec = Spec((1, 2, 2), GaussianPrior(dim=1))
    term = penalty(weight=1.0, every_steps=every_steps)
    game = AdversarialGame(Wasserstein(), [term], Half())
    networks = {"generator": Constant(), "discriminator": Linear()}
    game.bind(spec, networks)
    phase = game.phases()[0 if every_steps == 1 else 1]
    losses = phase.loss(networks, Batch(torch.zeros(3, 1, 2, 2), torch.zeros(3, dtype=torch.int64), torch.zeros(3, 1)))
    assert losses["penalty"].item() == pytest.approx(expected, abs=1e-6)
    losses["loss"].backward()
    gradient = networks["discriminator"].weight.grad
    if every_steps > 1:
        # d/dw of 1/2 (2 w)², lazily four times as much; nothing for the pixels that T hides.
        assert gradient.tolist() == [[4 * 2.0, 0.0], [0.0, 0.0]]


def test_dragan_s_steps_are_measured_in_deviations_of_images_that_nobody_augmented() -> None:
    entered: list[Tensor] = []

    class Look(Augmentation):
        def forward(self, images: Tensor) -> Tensor:
            entered.append(images.detach())
            return images * 0

    game = AdversarialGame(Wasserstein(), [Dragan(strength=0.5)], Look())
    networks = {"generator": Constant(), "discriminator": Linear()}
    game.bind(Spec((1, 2, 2), GaussianPrior(dim=1)), networks)
    real = 3 * torch.randn(2000, 1, 2, 2)
    game.phases()[0].loss(networks, Batch(real, torch.zeros(2000, dtype=torch.int64), torch.zeros(2000, 1)))
    moved = entered[-1] - real
    assert moved.min() >= 0
    assert 0.45 * real.std() < moved.max() <= 0.5 * real.std() * 1.001
    assert moved.amax((1, 2, 3)).min() < 0.05 * real.std(), "each image goes its own share of the way"


@pytest.mark.parametrize(
    ("kind", "recipe"),
    [(GradientPenalty, "wgan-gp-mnist"), (LipschitzPenalty, "lipschitz-penalty-mnist"), (Dragan, "dragan-mnist")],
)
def test_the_recipes_penalty_is_the_authors_on_pixels_between_0_and_1(
    kind: type[Regularizer], recipe: str, context, zoo
) -> None:
    """Their code has the weight 10 and the norm 1, for the same critic as a function of (x + 1) / 2."""
    (chosen,) = load_recipe(recipe, zoo).regularizers
    ours, theirs = kind(**chosen.options), kind(weight=10.0)
    weight = torch.randn(4, 3, dtype=torch.float64)

    def critic(x: Tensor) -> Tensor:
        return torch.tanh(x.flatten(1) @ weight).sum(1) * 3

    real, fake = torch.rand(50, 1, 2, 2, dtype=torch.float64), torch.rand(50, 1, 2, 2, dtype=torch.float64)
    values = []
    for term, seen in (
        (theirs, context(critic, real, fake)),
        (ours, context(lambda x: critic((x + 1) / 2), 2 * real - 1, 2 * fake - 1)),
    ):
        torch.manual_seed(0)
        values.append(term.weight * term.penalty(seen).item())
    assert values[0] == pytest.approx(values[1], rel=1e-6)


def test_the_zero_centred_recipe_s_weight_is_the_authors_for_a_probability_of_one_half(context, zoo) -> None:
    """Their code for MNIST has λ = 500, σ(D) and pixels (x - 0.1307) / 0.3081, with x in [0, 1]."""
    (chosen,) = load_recipe("zero-centred-penalty-mnist", zoo).regularizers
    direction = torch.tensor([1.0, -2.0, 0.5, 0.0], dtype=torch.float64)

    def logit(standardised: Tensor) -> Tensor:
        return standardised.flatten(1) @ direction

    at = torch.zeros(4, 1, 2, 2, dtype=torch.float64)  # the logit is 0
    theirs = 500 * ZeroCentredPenalty().penalty(context(lambda x: logit(x).sigmoid(), at, at))
    mean = torch.full_like(at, 2 * 0.1307 - 1)  # the same images in [-1, 1]
    ours = ZeroCentredPenalty(**chosen.options)
    value = ours.weight * ours.penalty(context(lambda x: logit(((x + 1) / 2 - 0.1307) / 0.3081), mean, mean))
    assert value.item() == pytest.approx(theirs.item(), rel=0.02)


def test_the_papers_weights_are_the_defaults() -> None:
    assert [p.weight for p in PENALTIES[:5]] == [10, 10, 2, 10, 10]


def test_each_side_s_squared_gradient_counts_by_the_square_of_its_error(context) -> None:
    """D(x) = 3 x has the gradient 3; at ln 3 and -ln 3, σ is 3/4 and 1/4."""
    at = torch.tensor(3.0, dtype=torch.float64).log() / 3
    real, fake = at.view(1, 1, 1, 1), at.view(1, 1, 1, 1)
    seen = context(lambda x: 3 * x.flatten(1).sum(1), real, fake)
    assert JSRegularizer().penalty(seen).item() == pytest.approx((9 / 16 + 9 * 9 / 16) / 2)
    seen = context(lambda x: 3 * x.flatten(1).sum(1), real, -fake)
    assert JSRegularizer().penalty(seen).item() == pytest.approx((9 / 16 + 9 / 16) / 2)


def test_a_confident_critic_costs_nothing_and_overflows_nowhere(context) -> None:
    weight = torch.full((4,), 1e4, requires_grad=True)
    ones = torch.ones(3, 1, 2, 2)
    value = JSRegularizer().penalty(context(lambda x: x.flatten(1) @ weight, ones, -ones))
    value.backward()
    assert value.item() == 0
    assert torch.isfinite(weight.grad).all()


def test_the_recipe_anneals_as_the_paper_does(zoo) -> None:
    (term,) = load_recipe("js-regularizer-mnist", zoo).regularizers
    weight = term.options["weight"]
    assert [weight.at(images, total=100) for images in (0, 50, 100)] == pytest.approx([2.0, 0.2, 0.02])
