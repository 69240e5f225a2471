"""Feature matching on features that are the pixels themselves."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ganzoo import GanzooError, GaussianPrior, Spec
from ganzoo_plugins.feature_matching import FeatureMatching

SPEC = Spec(1, 1, 2, GaussianPrior(dim=1))


class Pixels(nn.Module):
    def features(self, images: Tensor, label: Tensor | None = None) -> Tensor:
        pixels = images.flatten(1)
        return pixels if label is None else pixels * label.unsqueeze(1)


def test_it_is_the_squared_distance_of_means(turn) -> None:
    real = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).view(2, 1, 1, 2)
    fake = torch.tensor([[0.0, 0.0], [2.0, 8.0]]).view(2, 1, 1, 2).requires_grad_()
    value = FeatureMatching().penalty(turn(lambda x: x, real, fake, networks={"discriminator": Pixels()}))
    # Means (2, 3) and (1, 4).
    assert value.item() == pytest.approx((1 + 1) / 2)
    value.backward()
    # d/dfake of mean((m_real - m_fake)²) = -(m_real - m_fake) / 2, the mean being over 2 features and 2 fakes.
    assert fake.grad[0, 0, 0].tolist() == pytest.approx([-0.5, 0.5])


def test_labels_are_passed_on(turn) -> None:
    images = torch.ones(2, 1, 1, 2)
    seen = turn(
        lambda x: x, images, 0 * images, networks={"discriminator": Pixels()}, condition=(torch.tensor([2, 4]),)
    )
    assert FeatureMatching().penalty(seen).item() == pytest.approx(9)


def test_a_discriminator_without_features_is_refused_by_name() -> None:
    with pytest.raises(GanzooError, match=r"Identity has no 'features'.*'dcgan' or 'mlp'"):
        FeatureMatching().bind(SPEC, {"discriminator": nn.Identity()})
    FeatureMatching().bind(SPEC, {"discriminator": Pixels()})


def test_it_belongs_to_the_generator() -> None:
    assert FeatureMatching().side == "generator"
