"""What Salimans et al. 2016 add to a loss: feature matching, historical averaging, and smoothed labels."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.losses.vanilla import NonSaturating
from ganzoo_plugins.losses.wgan_gp import Wasserstein
from ganzoo_plugins.regularizers.feature_matching import FeatureMatching
from ganzoo_plugins.regularizers.historical_averaging import HistoricalAveraging
from ganzoo_plugins.regularizers.label_smoothing import LabelSmoothing


def test_feature_matching_is_the_squared_distance_of_means(context) -> None:
    real = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    fake = torch.tensor([[0.0, 0.0], [2.0, 8.0]]).view(2, 1, 1, 2).requires_grad_()
    value = FeatureMatching().penalty(context(lambda x: x, real, fake, features=lambda images: images.flatten(1)))
    # Means (2, 3) and (1, 4).
    assert value.item() == pytest.approx((1 + 1) / 2)
    value.backward()
    # d/dfake of mean((m_real - m_fake)²) = -(m_real - m_fake) / 2, the mean being over 2 features and 2 fakes.
    assert fake.grad[0, 0, 0].tolist() == pytest.approx([-0.5, 0.5])


def test_feature_matching_joins_the_generator_s_loss_alone(play) -> None:
    losses, networks, batch = play(Wasserstein(), FeatureMatching(weight=3.0))
    fakes, judge = networks["generator"](batch.z), networks["discriminator"]
    distance = (judge.features(batch.real).mean(0) - judge.features(fakes).mean(0)).square().mean()
    assert torch.allclose(losses["generator"]["loss"], -judge(fakes).mean() + 3 * distance)
    assert "penalty" not in losses["discriminator"]


SPEC = Spec((1, 1, 1), GaussianPrior(dim=1))


def test_historical_averaging_is_the_squared_distance_to_the_mean_of_all_that_was(context) -> None:
    player, history, nothing = nn.Linear(3, 2), [], torch.zeros(1, 1, 1, 1)
    networks, weights = {"generator": player}, list(player.parameters())
    term = HistoricalAveraging()
    term.bind(SPEC, networks)
    seen = context(lambda x: x, nothing, nothing, networks=networks)
    assert term.penalty(seen).item() == 0
    for _ in range(5):
        history.append(nn.utils.parameters_to_vector(weights).detach().clone())
        nn.utils.vector_to_parameters(history[-1] + torch.randn(8), weights)
        excess = nn.utils.parameters_to_vector(weights) - torch.stack(history).mean(0)
        value = term.penalty(seen)
        assert value.item() == pytest.approx(excess.square().sum().item(), rel=1e-5)
        slope = nn.utils.parameters_to_vector(torch.autograd.grad(value, weights))
        assert torch.allclose(slope, 2 * excess, atol=1e-5)
        with torch.no_grad():
            term.after_step(networks)


def test_the_side_is_an_option_and_the_other_player_is_left_alone(context) -> None:
    networks = {"generator": nn.Linear(1, 1), "discriminator": nn.Linear(2, 1)}
    term = HistoricalAveraging(side="discriminator")
    term.bind(SPEC, networks)
    assert term.average.shape == (3,)
    nothing = torch.zeros(1, 1, 1, 1)
    term.penalty(context(lambda x: x, nothing, nothing, networks=networks)).backward()
    assert networks["generator"].weight.grad is None


@pytest.mark.parametrize("s", [0.0, 0.1, 0.3])
def test_with_smoothed_labels_the_loss_becomes_cross_entropy_with_targets_1_minus_s_and_0(s: float, context) -> None:
    real, fake = torch.randn(64, requires_grad=True), torch.randn(64, requires_grad=True)
    nothing = torch.zeros(64, 1, 1, 1)
    term = LabelSmoothing(weight=s)
    smoothed = NonSaturating().discriminator(real, fake) + term.weight * term.penalty(
        context(lambda x: x, nothing, nothing, real_logits=real)
    )
    expected = binary_cross_entropy_with_logits(real, torch.full_like(real, 1 - s)) + binary_cross_entropy_with_logits(
        fake, torch.zeros_like(fake)
    )
    assert torch.allclose(smoothed, expected, atol=1e-6)
    found, wanted = (torch.autograd.grad(loss, (real, fake)) for loss in (smoothed, expected))
    assert all(torch.allclose(a, b, atol=1e-7) for a, b in zip(found, wanted, strict=True))
