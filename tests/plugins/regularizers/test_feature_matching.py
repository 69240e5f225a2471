"""Feature matching on features that are the pixels themselves."""

from __future__ import annotations

import pytest
import torch

from ganzoo_plugins.losses.wgan_gp import Wasserstein
from ganzoo_plugins.regularizers.feature_matching import FeatureMatching


def test_it_is_the_squared_distance_of_means(context) -> None:
    real = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    fake = torch.tensor([[0.0, 0.0], [2.0, 8.0]]).view(2, 1, 1, 2).requires_grad_()
    value = FeatureMatching().penalty(context(lambda x: x, real, fake, features=lambda images: images.flatten(1)))
    # Means (2, 3) and (1, 4).
    assert value.item() == pytest.approx((1 + 1) / 2)
    value.backward()
    # d/dfake of mean((m_real - m_fake)²) = -(m_real - m_fake) / 2, the mean being over 2 features and 2 fakes.
    assert fake.grad[0, 0, 0].tolist() == pytest.approx([-0.5, 0.5])


def test_it_joins_the_generator_s_loss_alone(play) -> None:
    losses, networks, batch = play(Wasserstein(), FeatureMatching(weight=3.0))
    fakes, judge = networks["generator"](batch.z), networks["discriminator"]
    distance = (judge.features(batch.real).mean(0) - judge.features(fakes).mean(0)).square().mean()
    assert torch.allclose(losses["generator"]["loss"], -judge(fakes).mean() + 3 * distance)
    assert "penalty" not in losses["discriminator"]
