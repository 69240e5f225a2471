"""Adversarial autoencoder: its three losses by hand, what each phase trains, and codes that approach the prior's."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ganzoo import Batch, Dataset, GaussianPrior, Spec
from ganzoo_plugins.networks import encoders, mlp
from ganzoo_plugins.objectives.aae import AdversarialAutoencoder, LatentDiscriminator


def built(objective: AdversarialAutoencoder, spec: Spec, hidden: int = 8) -> nn.ModuleDict:
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(spec, hidden=[hidden]),
            "encoder": encoders.fully_connected(spec, hidden=[hidden], norm="none"),
        }
    )
    networks.update(objective.bind(spec, networks))
    return networks


def batch(classes: int = 0) -> Batch:
    return Batch(torch.rand(8, 1, 4, 4) * 2 - 1, torch.arange(8) % max(1, classes), torch.randn(8, 3))


def test_losses_are_a_distance_of_pixels_and_cross_entropies_of_codes() -> None:
    objective = AdversarialAutoencoder(hidden=[6])
    networks, seen = built(objective, Spec((1, 4, 4), GaussianPrior(dim=3))), batch()
    found = [phase.loss(networks, seen)["loss"] for phase in objective.phases()]
    codes = networks["encoder"](seen.real)
    drawn, encoded = (networks["latent_discriminator"](z) for z in (seen.z, codes))
    distance = (networks["generator"](codes) - seen.real).square().sum() / (8 * 16)
    one, zero = torch.ones(8), torch.zeros(8)
    wanted = [distance, cross_entropy(drawn, one) + cross_entropy(encoded, zero), cross_entropy(encoded, one)]
    assert torch.allclose(torch.stack(found), torch.stack(wanted), atol=1e-6)


def test_codes_are_judged_with_their_labels() -> None:
    judge = LatentDiscriminator(Spec((1, 4, 4), GaussianPrior(dim=3), classes=2), [6])
    same = torch.randn(1, 3).expand(2, 3)
    logits = judge(same, torch.tensor([0, 1]))
    assert logits.shape == (2,)
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.full
def test_codes_of_digits_come_to_look_like_the_prior_s(mnist: Dataset) -> None:
    spec, objective = Spec((1, 28, 28), GaussianPrior(dim=2)), AdversarialAutoencoder(hidden=[64])
    networks = built(objective, spec, hidden=128)
    adams = {role: torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999)) for role, net in networks.items()}
    label, errors, codes = torch.zeros(64, dtype=torch.int64), [], []
    for step in range(400):
        real = mnist.images[step * 64 : step * 64 + 64].float() / 127.5 - 1
        for phase in objective.phases():
            for role, network in networks.items():
                network.requires_grad_(role in phase.trains)
                adams[role].zero_grad()
            losses = phase.loss(networks, Batch(real, label, torch.randn(64, 2)))
            losses["loss"].backward()
            for role in phase.trains:
                adams[role].step()
            if phase.name == "reconstruction":
                errors.append(losses["loss"].item())
        if step >= 300:
            codes.append(networks["encoder"](real).detach())
    assert sum(errors[-50:]) < 0.7 * sum(errors[:50])
    late = torch.cat(codes)
    assert torch.allclose(late.mean(0), torch.zeros(2), atol=0.5)
    assert torch.allclose(late.std(0), torch.ones(2), atol=0.5)


def test_reconstructions_have_the_statistics_of_their_codes_and_training_those_of_batches() -> None:
    objective, spec, seen = AdversarialAutoencoder(hidden=[6]), Spec((1, 4, 4), GaussianPrior(dim=3)), batch()
    networks = built(objective, spec)
    networks["generator"] = mlp.Generator(spec, hidden=[8, 8], norm="batch")
    norm = next(module for module in networks["generator"].modules() if isinstance(module, nn.BatchNorm1d))
    with torch.no_grad():
        networks.eval()
        before = objective.reconstruct(networks, seen.real, seen.label)
        norm.running_mean.fill_(100.0)  # as measured on other codes
        assert torch.equal(objective.reconstruct(networks, seen.real, seen.label), before)
        networks.train()
        objective.reconstruction_loss(networks, seen)
    assert not torch.equal(norm.running_mean, torch.full_like(norm.running_mean, 100.0))
