"""CR, bCR and zCR on critics and generators whose differences are known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ganzoo_plugins.regularizers.consistency import Consistency
from ganzoo_plugins.regularizers.improved_consistency import BalancedConsistency, LatentConsistency, LatentDiversity


def brightness(x: Tensor) -> Tensor:
    """Blind to where things are, as long as nothing is pushed over the edge."""
    return x.flatten(1).sum(1)


def ramp(x: Tensor) -> Tensor:
    """Where the mass is, from left to right: a shift by d columns of a unit mass changes it by d."""
    return (x * torch.arange(8.0)).flatten(1).sum(1)


def dot(n: int) -> Tensor:
    x = torch.zeros(n, 1, 8, 8)
    x[:, :, 4, 4] = 1
    return x


def test_a_critic_that_does_not_mind_shifts_costs_nothing(context) -> None:
    seen = context(brightness, dot(8), dot(8))
    assert Consistency(shift=3).penalty(seen).item() == 0
    assert BalancedConsistency(shift=3).penalty(seen).item() == 0


def test_a_critic_that_counts_columns_costs_the_mean_squared_shift(context) -> None:
    seen = context(ramp, dot(30_000), torch.full((30_000, 1, 8, 8), torch.nan))
    # Uniform on -3..3: E[d²] = 2 (1 + 4 + 9) / 7.
    assert Consistency(shift=3).penalty(seen).item() == pytest.approx(4, rel=0.03)


def test_balanced_counts_fakes_as_its_share_says(context) -> None:
    real, fake = dot(30_000), 2 * dot(30_000)
    seen = context(ramp, real, fake)
    assert BalancedConsistency(shift=3, fake_share=0.0).penalty(seen).item() == pytest.approx(4, rel=0.03)
    assert BalancedConsistency(shift=3, fake_share=0.5).penalty(seen).item() == pytest.approx(4 + 8, rel=0.03)


@pytest.mark.parametrize("penalty", [Consistency(shift=2), BalancedConsistency(shift=2)])
def test_known_logits_are_not_computed_again(penalty: Consistency, context) -> None:
    judged: list[Tensor] = []

    def critic(x: Tensor) -> Tensor:
        judged.append(x)
        return ramp(x)

    x = torch.randn(6, 1, 8, 8)
    penalty.penalty(context(critic, x, x, real_logits=ramp(x), fake_logits=ramp(x)))
    assert judged
    assert not any(torch.equal(shown, x) for shown in judged)


def linear_generator(z: Tensor) -> Tensor:
    return (3 * z).view(-1, 1, 1, 2)


def test_latent_consistency_of_linear_players_is_their_slopes_times_sigma_for_the_critic_alone(context) -> None:
    z, slope = torch.randn(40_000, 2), torch.ones((), requires_grad=True)
    weight = torch.tensor([1.0, 2.0], requires_grad=True)
    seen = context(
        lambda x: x.flatten(1) @ weight, z, linear_generator(z), z=z, generate=lambda z: slope * linear_generator(z)
    )
    value = LatentConsistency(sigma=0.1).penalty(seen)
    # D(G(z')) - D(G(z)) = 3 (1, 2) · σε: variance 9 · 5 σ².
    assert value.item() == pytest.approx(0.45, rel=0.03)
    value.backward()
    assert slope.grad is None
    # d/dw of 9 |w|² σ².
    assert weight.grad.tolist() == pytest.approx([0.18, 0.36], rel=0.05)


def test_latent_consistency_compares_images_before_an_augmentation(context) -> None:
    """σ = 0 makes equal images, which cost nothing whatever the augmentation did to the ones that D was shown."""
    z = torch.randn(6, 2)
    fake = linear_generator(z)
    seen = context(
        lambda x: x.flatten(1).sum(1),
        fake,
        fake,
        z=z,
        generate=linear_generator,
        augment=torch.randn_like,
        fake_logits=torch.randn(6),
    )
    assert LatentConsistency(sigma=0.0).penalty(seen).item() == 0
    assert LatentConsistency(sigma=0.1).penalty(seen).item() > 0


def test_latent_diversity_is_minus_the_squared_move_and_steepens_the_generator(context) -> None:
    z, slope = torch.randn(40_000, 2), torch.ones((), requires_grad=True)
    seen = context(lambda x: x, z, slope * linear_generator(z), z=z, generate=lambda z: slope * linear_generator(z))
    value = LatentDiversity(sigma=0.1).penalty(seen)
    assert value.item() == pytest.approx(-9 * 0.01, rel=0.03), "a mean of two pixels"
    value.backward()
    assert slope.grad.item() == pytest.approx(-2 * 9 * 0.01, rel=0.03)


def test_the_papers_weights_are_the_defaults() -> None:
    defaults = [Consistency(), BalancedConsistency(), LatentConsistency(), LatentDiversity()]
    assert [penalty.weight for penalty in defaults] == [10, 10, 5, 0.5]
    assert LatentConsistency().sigma == 0.03
    assert LatentDiversity.side == "generator"
