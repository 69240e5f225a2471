"""VAE-GAN: its three losses by hand, and which network each of them trains."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ganzoo import Batch, GaussianPrior, Spec
from ganzoo_plugins.networks import encoders, mlp
from ganzoo_plugins.objectives.vae_gan import VAEGAN

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))


def built(objective: VAEGAN, *, certain: bool = False) -> nn.ModuleDict:
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(SPEC, hidden=[8]),
            "encoder": encoders.fully_connected(SPEC, hidden=[8], norm="none"),
            "discriminator": mlp.Discriminator(SPEC, hidden=[6]),
        }
    )
    networks.update(objective.bind(SPEC, networks))
    if certain:  # codes are their means, so that losses can be worked out
        nn.init.zeros_(networks["deviation"].weight)
        nn.init.constant_(networks["deviation"].bias, -40.0)
    return networks


def batch() -> Batch:
    return Batch(torch.rand(8, 1, 4, 4) * 2 - 1, torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))


def test_losses_are_those_of_the_paper() -> None:
    objective = VAEGAN(weight=0.25)
    networks, seen = built(objective, certain=True), batch()
    encoder, generator, discriminator = (phase.loss(networks, seen)["loss"] for phase in objective.phases())
    judge, codes = networks["discriminator"], networks["encoder"](seen.real)
    again, drawn = networks["generator"](codes), networks["generator"](seen.z)
    distance = (judge.features(seen.real) - judge.features(again)).square().sum() / (2 * 8)
    divergence = (codes.square().sum(1).mean() + 3 * (40 - 1)) / 2
    one, zero = torch.ones(8), torch.zeros(8)
    game = cross_entropy(judge(again), one) + cross_entropy(judge(drawn), one)
    value = cross_entropy(judge(seen.real), one) + cross_entropy(judge(again), zero) + cross_entropy(judge(drawn), zero)
    assert torch.allclose(encoder, divergence + distance, rtol=1e-4)
    assert torch.allclose(generator, distance / 4 + game, rtol=1e-4)
    assert torch.allclose(discriminator, value, rtol=1e-4)


def test_codes_are_drawn_from_the_posterior_in_training() -> None:
    objective = VAEGAN()
    networks, seen = built(objective), batch()
    first, again = (objective.encoder_loss(networks, seen)["loss"] for _ in range(2))
    assert first != again


def test_no_signal_of_the_game_reaches_the_encoder() -> None:
    """A head that judges differently changes the logits, and the encoder's loss not at all."""
    objective = VAEGAN()
    networks, seen = built(objective, certain=True), batch()
    before = objective.encoder_loss(networks, seen)["loss"]
    nn.init.normal_(networks["discriminator"].head.linear.weight, std=10)
    assert torch.equal(objective.encoder_loss(networks, seen)["loss"], before)
