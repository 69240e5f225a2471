"""Encoders, and Gaussians around their codes, against torch's distributions; discriminators that encode and decode."""

from __future__ import annotations

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.autoencoder import Autoencoder
from ganzoo_plugins.networks.autoencoder import convolutional as convolutions
from ganzoo_plugins.networks.autoencoder import fully_connected as perceptrons
from ganzoo_plugins.networks.encoders import Posterior, convolutional, deviation_layer, fully_connected, posterior
from ganzoo_plugins.objectives import infogan

SPEC = Spec((1, 8, 8), GaussianPrior(dim=5))


def test_the_divergence_agrees_with_torch_s() -> None:
    q = Posterior(torch.randn(6, 5), torch.randn(6, 5))
    found = kl_divergence(Normal(q.mean, q.log_variance.exp().sqrt()), Normal(0.0, 1.0)).sum(1)
    assert torch.allclose(q.divergence(), found, atol=1e-5)
    assert torch.equal(Posterior(torch.zeros(2, 5), torch.zeros(2, 5)).divergence(), torch.zeros(2))


def test_samples_have_the_mean_and_the_variance() -> None:
    q = Posterior(torch.tensor([[2.0, -1.0]]).expand(40_000, 2), torch.tensor([[0.0, 2.0]]).expand(40_000, 2))
    drawn = q.sample()
    assert torch.allclose(drawn.mean(0), torch.tensor([2.0, -1.0]), atol=0.06)
    assert torch.allclose(drawn.var(0), torch.tensor([0.0, 2.0]).exp(), rtol=0.05)


def test_samples_carry_gradients_by_reparametrisation() -> None:
    """With z = μ + σε, dz/dμ = 1 and dz/d log σ² = σε / 2 = (z - μ) / 2."""
    mean, log_variance = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    drawn = Posterior(mean, log_variance).sample()
    drawn.sum().backward()
    assert torch.equal(mean.grad, torch.ones(3, 4))
    assert torch.allclose(log_variance.grad, (drawn - mean).detach() / 2, atol=1e-6)


@pytest.mark.parametrize("build", [fully_connected, convolutional, infogan.encoder])
def test_a_posterior_is_two_layers_on_the_encoder_s_features(build: object) -> None:
    encoder = build(SPEC)  # type: ignore[operator]
    encoder.eval()
    networks = {"encoder": encoder, "deviation": deviation_layer(encoder, SPEC, "The test")}
    images = torch.rand(3, 1, 8, 8) * 2 - 1
    q = posterior(networks, images, ())
    assert torch.equal(q.mean, encoder(images))
    assert torch.equal(q.log_variance, networks["deviation"](encoder.features(images)))


DIGITS = Spec((1, 28, 28), GaussianPrior(dim=100))
kinds = pytest.mark.parametrize("make", [perceptrons, convolutions])


@kinds
def test_errors_by_hand(make: type[Autoencoder]) -> None:
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    for error, distance in (
        ("euclidean", lambda d: d.flatten(1).norm(dim=1)),
        ("absolute", lambda d: d.abs().mean((1, 2, 3))),
    ):
        network = make(DIGITS, error=error).eval()
        assert torch.allclose(network(images), -distance(images - network.reconstruct(images)))


@kinds
def test_the_reconstruction_passes_through_the_code_alone(make: type[Autoencoder]) -> None:
    network = make(DIGITS, code=5).eval()
    images = torch.rand(2, 1, 28, 28)
    codes = network.encode(images)
    assert codes.shape == (2, 5)
    assert torch.equal(network.reconstruct(images), network.decoder(codes, None))


def test_the_code_s_width_is_its_own_and_not_the_prior_s() -> None:
    widths = [m.in_features for m in perceptrons(DIGITS, hidden=[9, 8], code=5).modules() if hasattr(m, "in_features")]
    assert widths == [784, 9, 5, 8, 9, 8]  # encoder, decoder in reverse, and the layer to the code


def test_an_image_reconstructed_exactly_has_the_energy_zero_and_a_finite_slope() -> None:
    network = perceptrons(DIGITS).eval()
    images = torch.zeros(2, 1, 28, 28, requires_grad=True)
    with torch.no_grad():
        network.decoder.head.weight.zero_()
        network.decoder.head.bias.zero_()
    logits = network(images)
    assert logits.abs().max() <= 1e-5
    logits.sum().backward()
    assert torch.isfinite(images.grad).all()
