"""VAE, VAE-GAN, adversarial autoencoder and BiGAN: losses by hand, drawn codes, and what a short training reaches."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Bernoulli, Normal
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from ganzoo import Batch, Dataset, GaussianPrior, Losses, Objective, Spec, UniformPrior
from ganzoo_plugins.networks import encoders, mlp
from ganzoo_plugins.objectives.aae import AdversarialAutoencoder, LatentDiscriminator
from ganzoo_plugins.objectives.bigan import ALI, BiGAN, Joint
from ganzoo_plugins.objectives.vae import VAE, negative_log_likelihood
from ganzoo_plugins.objectives.vae_gan import VAEGAN

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))
ONE, ZERO = torch.ones(8), torch.zeros(8)


def built(objective: Objective, spec: Spec = SPEC, *, hidden: int = 8, certain: bool = False) -> nn.ModuleDict:
    widths, norm = ([hidden, hidden], "batch") if isinstance(objective, BiGAN) else ([hidden], "none")
    networks = nn.ModuleDict(
        {
            "generator": mlp.Generator(spec, hidden=widths),
            "encoder": encoders.fully_connected(spec, hidden=widths, norm=norm),
        }
    )
    if isinstance(objective, BiGAN | VAEGAN):
        networks["discriminator"] = mlp.Discriminator(spec, hidden=[hidden])
    networks.update(objective.bind(spec, networks))
    if certain:  # codes are their means, so that losses can be worked out
        nn.init.zeros_(networks["deviation"].weight)
        nn.init.constant_(networks["deviation"].bias, -40.0)
    return networks


def batch() -> Batch:
    return Batch(torch.rand(8, 1, 4, 4) * 2 - 1, torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))


def trained(
    objective: Objective, networks: nn.ModuleDict, mnist: Dataset, steps: int, draw: Callable[[], Tensor]
) -> Iterator[dict[str, Losses]]:
    """Train on MNIST; after each step, the losses of each phase."""
    adams = {role: torch.optim.Adam(net.parameters(), 1e-3, (0.5, 0.999)) for role, net in networks.items()}
    for step in range(steps):
        real = mnist.images[step * 64 : step * 64 + 64].float() / 127.5 - 1
        found = {}
        for phase in objective.phases():
            for role, network in networks.items():
                network.requires_grad_(role in phase.trains)
                adams[role].zero_grad()
            found[phase.name] = phase.loss(networks, Batch(real, torch.zeros(64).long(), draw()))
            found[phase.name]["loss"].backward()
            for role in phase.trains:
                adams[role].step()
        yield found


def test_the_losses_of_an_adversarial_autoencoder_are_a_distance_of_pixels_and_cross_entropies_of_codes() -> None:
    objective = AdversarialAutoencoder(hidden=[6])
    networks, seen = built(objective), batch()
    found = [phase.loss(networks, seen)["loss"] for phase in objective.phases()]
    codes = networks["encoder"](seen.real)
    drawn, encoded = (networks["latent_discriminator"](z) for z in (seen.z, codes))
    distance = (networks["generator"](codes) - seen.real).square().sum() / (8 * 16)
    wanted = [distance, cross_entropy(drawn, ONE) + cross_entropy(encoded, ZERO), cross_entropy(encoded, ONE)]
    assert torch.allclose(torch.stack(found), torch.stack(wanted), atol=1e-6)


def test_codes_are_judged_with_their_labels() -> None:
    judge = LatentDiscriminator(Spec((1, 4, 4), GaussianPrior(dim=3), classes=2), [6])
    logits = judge(torch.randn(1, 3).expand(2, 3), torch.tensor([0, 1]))
    assert logits.shape == (2,)
    assert not torch.allclose(logits[0], logits[1])


@pytest.mark.full
def test_codes_of_digits_come_to_look_like_the_prior_s(mnist: Dataset) -> None:
    spec, objective = Spec((1, 28, 28), GaussianPrior(dim=2)), AdversarialAutoencoder(hidden=[64])
    networks = built(objective, spec, hidden=128)
    errors, codes = [], []
    for step, found in enumerate(trained(objective, networks, mnist, 400, lambda: torch.randn(64, 2))):
        errors.append(found["reconstruction"]["loss"].item())
        codes.append(networks["encoder"](mnist.images[step * 64 : step * 64 + 64].float() / 127.5 - 1).detach())
    assert sum(errors[-50:]) < 0.7 * sum(errors[:50])
    late = torch.cat(codes[-100:])
    assert torch.allclose(late.mean(0), torch.zeros(2), atol=0.5)
    assert torch.allclose(late.std(0), torch.ones(2), atol=0.5)


def test_statistics_for_samples_are_measured_in_training() -> None:
    objective = AdversarialAutoencoder(hidden=[6])
    networks = built(objective)
    networks["generator"] = mlp.Generator(SPEC, hidden=[8, 8], norm="batch")
    norm = next(module for module in networks["generator"].modules() if isinstance(module, nn.BatchNorm1d))
    objective.reconstruction_loss(networks, batch())
    assert norm.running_mean.any()


def test_likelihoods_agree_with_torch_s_distributions() -> None:
    images, means = torch.randint(0, 2, (5, 1, 4, 4)) * 2.0 - 1, torch.rand(5, 1, 4, 4) * 1.8 - 0.9
    wanted = -Bernoulli((means + 1) / 2).log_prob((images + 1) / 2).sum((1, 2, 3))
    assert torch.allclose(negative_log_likelihood(images, means, "bernoulli", 1.0), wanted, rtol=1e-5)
    wanted = -Normal(means, 0.3).log_prob(images).sum((1, 2, 3))
    assert torch.allclose(negative_log_likelihood(images, means, "gaussian", 0.3), wanted, rtol=1e-5)


def test_a_vae_s_bound_is_error_and_divergence() -> None:
    """With σ next to nothing the code is its mean, and both parts can be worked out."""
    objective = VAE(likelihood="gaussian", deviation=0.5)
    networks, seen = built(objective, certain=True), batch()
    losses = objective.bound(networks, seen)
    codes = networks["encoder"](seen.real)
    error = -Normal(networks["generator"](codes), 0.5).log_prob(seen.real).sum((1, 2, 3)).mean()
    divergence = (codes.square().sum(1).mean() + 3 * (40 - 1)) / 2
    assert torch.allclose(losses["error"], error, rtol=1e-4)
    assert torch.allclose(losses["divergence"], divergence, rtol=1e-4)
    assert torch.allclose(losses["loss"], error + divergence, rtol=1e-4)


@pytest.mark.parametrize("objective", [VAE(), VAEGAN()], ids=lambda value: type(value).__name__)
def test_codes_are_drawn_from_the_posterior_in_training(objective: Objective) -> None:
    networks, seen = built(objective), batch()
    first, again = (objective.phases()[0].loss(networks, seen)["loss"] for _ in range(2))
    assert first != again


def test_half_precision_still_learns_from_ink_it_was_sure_to_be_paper() -> None:
    """In bfloat16, tanh(-5) is exactly -1 and flat; the slope of the cross-entropy in its argument a is 2(y - t)."""
    objective = VAE()
    networks = built(objective)
    head = networks["generator"].head
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, -5.0)
    ink = Batch(torch.ones(8, 1, 4, 4), torch.zeros(8, dtype=torch.int64), torch.randn(8, 3))
    with torch.autocast("cpu", torch.bfloat16):
        objective.bound(networks, ink)["loss"].backward()
    assert torch.allclose(head.bias.grad, torch.full((16,), -2.0), atol=1e-3)


@pytest.mark.full
def test_the_bound_falls_on_digits(mnist: Dataset) -> None:
    spec, objective = Spec((1, 28, 28), GaussianPrior(dim=8)), VAE()
    steps = trained(objective, built(objective, spec, hidden=128), mnist, 200, lambda: torch.randn(64, 8))
    found = [losses["loss"].item() for step in steps for losses in step.values()]
    # A pixel's mean over all digits, the same for every image, leaves about 206 nats.
    assert sum(found[-20:]) / 20 < 190


def test_the_losses_of_a_vae_gan_are_those_of_the_paper() -> None:
    objective = VAEGAN(weight=0.25)
    networks, seen = built(objective, certain=True), batch()
    encoder, generator, discriminator = (phase.loss(networks, seen)["loss"] for phase in objective.phases())
    judge, codes = networks["discriminator"], networks["encoder"](seen.real)
    again, drawn = networks["generator"](codes), networks["generator"](seen.z)
    distance = (judge.features(seen.real) - judge.features(again)).square().sum() / (2 * 8)
    divergence = (codes.square().sum(1).mean() + 3 * (40 - 1)) / 2
    game = cross_entropy(judge(again), ONE) + cross_entropy(judge(drawn), ONE)
    value = cross_entropy(judge(seen.real), ONE) + cross_entropy(judge(again), ZERO) + cross_entropy(judge(drawn), ZERO)
    assert torch.allclose(encoder, divergence + distance, rtol=1e-4)
    assert torch.allclose(generator, distance / 4 + game, rtol=1e-4)
    assert torch.allclose(discriminator, value, rtol=1e-4)


def test_no_signal_of_the_game_reaches_the_encoder() -> None:
    """A head that judges differently changes the logits, and the encoder's loss not at all."""
    objective = VAEGAN()
    networks, seen = built(objective, certain=True), batch()
    before = objective.encoder_loss(networks, seen)["loss"]
    nn.init.normal_(networks["discriminator"].head.linear.weight, std=10)
    assert torch.equal(objective.encoder_loss(networks, seen)["loss"], before)


def test_the_losses_of_bigan_are_cross_entropies_of_pairs() -> None:
    objective = BiGAN(hidden=[6])
    networks, seen = built(objective).eval(), batch()
    found = [phase.loss(networks, seen)["loss"] for phase in objective.phases()]
    judge, joint = networks["discriminator"], networks["joint"]

    def logits(images: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
        return judge(images) + joint(judge.features(images), z)

    real = logits(seen.real, networks["encoder"](seen.real))
    fake = logits(networks["generator"](seen.z), seen.z)
    assert torch.allclose(found[0], cross_entropy(real, ONE) + cross_entropy(fake, ZERO), atol=1e-6)
    assert torch.allclose(found[1], cross_entropy(real, ZERO) + cross_entropy(fake, ONE), atol=1e-6)


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
    for _ in trained(objective, networks, mnist, 500, lambda: torch.rand(64, dim) * 2 - 1):
        pass
    networks.eval()
    z, label = torch.rand(1000, dim) * 2 - 1, torch.zeros(1000, dtype=torch.int64)
    held_out = mnist.images[-1000:].float() / 127.5 - 1
    with torch.no_grad():
        found = objective.codes(networks, networks["generator"](z), label)
        reconstructed = objective.reconstruct(networks, held_out, label)
    correlation = torch.corrcoef(torch.stack([z.flatten(), found.flatten()]))[0, 1]
    # Guessing gives 0, with a deviation of 1 / sqrt(10000). How far a training gets depends on how the CPU rounds.
    assert correlation > 0.15
    # Another digit's reconstruction is as far away as a guess.
    guessed = (reconstructed.roll(1, dims=0) - held_out).square().mean()
    assert (reconstructed - held_out).square().mean() < 0.9 * guessed
