"""BiGAN and ALI: the game on pairs by hand, what each phase trains, and an encoder that inverts its generator."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ganzoo import Batch, Dataset, GaussianPrior, Spec, UniformPrior
from ganzoo_plugins.networks import encoders, mlp
from ganzoo_plugins.objectives.bigan import ALI, BiGAN, Joint

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))


def built(objective: BiGAN, spec: Spec = SPEC, hidden: int = 8) -> nn.ModuleDict:
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(spec, hidden=[hidden, hidden]),
            "encoder": encoders.fully_connected(spec, hidden=[hidden, hidden]),
            "discriminator": mlp.Discriminator(spec, hidden=[hidden]),
        }
    )
    networks.update(objective.bind(spec, networks))
    return networks


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.zeros(n, dtype=torch.int64), torch.randn(n, 3))


def test_losses_are_cross_entropies_of_pairs() -> None:
    objective = BiGAN(hidden=[6])
    networks, seen = built(objective).eval(), batch()
    found = [phase.loss(networks, seen)["loss"] for phase in objective.phases()]
    judge, joint = networks["discriminator"], networks["joint"]

    def logits(images: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return judge(images) + joint(judge.features(images), z)

    real = logits(seen.real, networks["encoder"](seen.real))
    fake = logits(networks["generator"](seen.z), seen.z)
    one, zero = torch.ones(8), torch.zeros(8)
    assert torch.allclose(found[0], cross_entropy(real, one) + cross_entropy(fake, zero), atol=1e-6)
    assert torch.allclose(found[1], cross_entropy(real, zero) + cross_entropy(fake, one), atol=1e-6)


def test_pairs_are_judged_and_not_codes_and_images_apart() -> None:
    """A sum u(f) + v(z) would leave f(a, c) - f(a, d) the same for every a."""
    joint = Joint(4, 3, [16])
    first, second, c, d = torch.randn(1, 4), torch.randn(1, 4), torch.randn(1, 3), torch.randn(1, 3)
    assert not torch.allclose(joint(first, c) - joint(first, d), joint(second, c) - joint(second, d), atol=1e-4)


def test_bigan_s_codes_stay_in_the_range_of_a_uniform_prior() -> None:
    spec = Spec((1, 4, 4), UniformPrior(dim=3))
    for objective, squashed in ((BiGAN(), True), (ALI(), False)):
        networks, seen = built(objective, spec).eval(), batch()
        with torch.no_grad():
            networks["encoder"].head.weight.mul_(100)
        outputs = networks["encoder"](seen.real)
        assert outputs.abs().max() > 1
        expected = 2 * outputs.sigmoid() - 1 if squashed else outputs
        assert torch.allclose(objective.codes(networks, seen.real, seen.label), expected, atol=1e-6)
    gaussian, seen = BiGAN(), batch()
    networks = built(gaussian).eval()
    assert torch.equal(gaussian.codes(networks, seen.real, seen.label), networks["encoder"](seen.real))


def test_ali_draws_and_bigan_does_not() -> None:
    for objective, draws in ((BiGAN(), False), (ALI(), True)):
        networks, seen = built(objective).eval(), batch()
        first, second = (objective.encode(networks, seen.real, seen.label) for _ in range(2))
        assert torch.equal(first, second) is not draws


@pytest.mark.full
def test_the_encoder_inverts_the_generator(mnist: Dataset) -> None:
    """A short training on digits: codes and digits are found again, better than by guessing."""
    # With two dimensions, a code that is found after 500 steps is lost again after 1,000.
    dim = 10
    spec, objective = Spec((1, 28, 28), UniformPrior(dim=dim)), BiGAN(hidden=[128])
    networks = built(objective, spec, hidden=128)
    optimizers = {
        phase.name: torch.optim.Adam([p for r in phase.trains for p in networks[r].parameters()], 1e-3, (0.5, 0.999))
        for phase in objective.phases()
    }
    images, label = mnist.images.float() / 127.5 - 1, torch.zeros(64, dtype=torch.int64)
    for step in range(500):
        real = images[step * 64 : step * 64 + 64]
        for phase in objective.phases():
            z = torch.rand(64, dim) * 2 - 1
            networks.requires_grad_(False)
            for role in phase.trains:
                networks[role].requires_grad_(True)
            optimizers[phase.name].zero_grad()
            phase.loss(networks, Batch(real, label, z))["loss"].backward()
            optimizers[phase.name].step()
    networks.eval()
    z, held_out, label = torch.rand(1000, dim) * 2 - 1, images[-1000:], torch.zeros(1000, dtype=torch.int64)
    with torch.no_grad():
        found = objective.codes(networks, networks["generator"](z), label)
        reconstructed = objective.reconstruct(networks, held_out, label)
    correlation = torch.corrcoef(torch.stack([z.flatten(), found.flatten()]))[0, 1]
    # Guessing gives 0, with a deviation of 1 / sqrt(10000). How far a training gets depends on how the CPU rounds.
    assert correlation > 0.15
    # Another digit's reconstruction is as far away as a guess.
    guessed = (reconstructed.roll(1, dims=0) - held_out).square().mean()
    assert (reconstructed - held_out).square().mean() < 0.9 * guessed
