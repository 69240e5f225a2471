"""What every registered loss, regularizer and augmentation must do, whoever wrote it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganzoo import AdversarialGame, AdversarialLoss, Batch, GaussianPrior, Objective, Regularizer, Spec
from ganzoo.plugins import load_zoo
from ganzoo.recipe import load_recipe

ZOO = load_zoo()
LOSSES = {entry.name: entry.create(**entry.check({})) for entry in ZOO.losses}
on_logits = pytest.mark.parametrize("name", [n for n, loss in LOSSES.items() if isinstance(loss, AdversarialLoss)])
TERMS = [entry for entry in ZOO.regularizers if "weight" in entry.options.types]
LAZY = [entry for entry in TERMS if "every" in entry.options.types]
regularizers = pytest.mark.parametrize("entry", ZOO.regularizers, ids=lambda entry: entry.name)
terms = pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry.name)
lazy = pytest.mark.parametrize("entry", LAZY, ids=lambda entry: entry.name)
SPEC = Spec(1, 28, 28, GaussianPrior(dim=8))


def logits(mean: float, n: int = 16) -> Tensor:
    return (mean + 0.1 * torch.randn(n)).requires_grad_()


def both(loss: AdversarialLoss, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return loss.discriminator(real, fake), loss.generator(real if loss.pairs else None, fake)


@on_logits
@pytest.mark.parametrize("size", [0.0, 1.0, 1e4])
def test_losses_are_finite_scalars_with_finite_gradients(name: str, size: float) -> None:
    for sign in (1, -1):
        real, fake = logits(sign * size), logits(-sign * size)
        for value in both(LOSSES[name], real, fake):
            assert value.shape == ()
            assert value.dtype == torch.float32
            assert torch.isfinite(value)
            slopes = torch.autograd.grad(value, (real, fake), allow_unused=True)
            assert all(torch.isfinite(slope).all() for slope in slopes if slope is not None)


@on_logits
def test_a_fooled_discriminator_is_pushed_right_and_a_losing_generator_up(name: str) -> None:
    """Large logits mean real, for every loss: augmentations and logs rely on it.

    A winning generator need not be pushed any further: some losses want D to be undecided, not fooled.
    """
    real, fake = logits(-0.5), logits(0.5)
    on_real, on_fake = torch.autograd.grad(both(LOSSES[name], real, fake)[0], (real, fake))
    (on_generator,) = torch.autograd.grad(both(LOSSES[name], fake, real)[1], real)
    assert on_real.sum() < 0
    assert on_fake.sum() > 0
    assert on_generator.sum() < 0


@on_logits
def test_a_loss_does_not_depend_on_the_batch_size(name: str) -> None:
    real, fake = torch.randn(8), torch.randn(8)
    for once, twice in zip(
        both(LOSSES[name], real, fake), both(LOSSES[name], real.repeat(2), fake.repeat(2)), strict=True
    ):
        assert torch.allclose(once, twice, atol=1e-5)


def test_every_objective_with_phases_of_its_own_is_tried_in_a_recipe() -> None:
    with_phases = {name for name, loss in LOSSES.items() if isinstance(loss, Objective)}
    tried = {load_recipe(entry.name, ZOO).loss.name for entry in ZOO.recipes}
    assert with_phases <= tried


def set_up(regularizer: Regularizer) -> tuple[AdversarialGame, nn.ModuleDict, Batch]:
    """A conditional game with a single regularizer, by the same random numbers each time."""
    torch.manual_seed(5)
    spec = replace(SPEC, classes=3)
    networks = nn.ModuleDict(
        {role: ZOO.registry(role).get("mlp").create(spec, hidden=[16, 8]) for role in ("generator", "discriminator")}
    )
    game = AdversarialGame(LOSSES["non-saturating"], [regularizer])
    networks.update(game.bind(spec, networks))
    batch = Batch(torch.rand(8, *SPEC.image_shape) * 2 - 1, torch.arange(8) % 3, torch.randn(8, 8))
    return game, networks, batch


def turn(entry: Any, **options: Any) -> tuple[dict[str, Tensor], nn.ModuleDict]:
    """One turn of the side that the regularizer joins."""
    regularizer = entry.create(**entry.check(options))
    regularizer.label = entry.name
    game, networks, batch = set_up(regularizer)
    phase = next(p for p in game.phases() if regularizer.side in (p.name.split("/")[0], "both"))
    losses = dict(phase.loss(networks, batch))
    losses["loss"].backward()
    return losses, networks


@terms
def test_a_penalty_is_a_finite_scalar_and_so_are_its_gradients(entry: Any) -> None:
    losses, networks = turn(entry)
    assert losses[entry.name].shape == ()
    assert torch.isfinite(losses[entry.name])
    gradients = [p.grad for p in networks.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


@terms
def test_the_weight_is_ganzoo_s_to_apply(entry: Any) -> None:
    light, _ = turn(entry, weight=2.0)
    heavy, _ = turn(entry, weight=5.0)
    assert torch.equal(light[entry.name], heavy[entry.name]), "the penalty is the one before weighting"
    assert torch.allclose(heavy["loss"] - light["loss"], 3 * light[entry.name], atol=1e-5)


@lazy
def test_it_can_be_lazy(entry: Any) -> None:
    regularizer = entry.create(**entry.check({"weight": 2.0, "every": 4}))
    game, networks, batch = set_up(regularizer)
    phase = next(phase for phase in game.phases() if "/" in phase.name)
    losses = phase.loss(networks, batch)
    assert phase.every == 4
    assert torch.allclose(losses["loss"], 8 * losses["penalty"])


@regularizers
def test_what_has_no_weight_adds_no_term(entry: Any) -> None:
    losses, _ = turn(entry)
    assert (entry.name in losses) == ("weight" in entry.options.types)


@pytest.mark.parametrize("entry", ZOO.augmentations, ids=lambda entry: entry.name)
@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)], ids=str)
def test_an_augmentation_keeps_the_shape_and_lets_gradients_through(entry: Any, shape: tuple[int, int, int]) -> None:
    augmentation = entry.create(**entry.check({}))
    images = (torch.rand(4, *shape) * 2 - 1).requires_grad_()
    changed = augmentation(images)
    assert changed.shape == images.shape
    changed.sum().backward()
    assert torch.isfinite(images.grad).all()
    augmentation.observe(torch.randn(4))
