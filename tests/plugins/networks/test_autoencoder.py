"""Autoencoding discriminators: the logit is minus the error of the reconstruction they show."""

from __future__ import annotations

import pytest
import torch

from ganzoo import GaussianPrior, Spec
from ganzoo_plugins.networks.autoencoder import Autoencoder, convolutional, fully_connected

SPEC = Spec((1, 28, 28), GaussianPrior(dim=100))
kinds = pytest.mark.parametrize("make", [fully_connected, convolutional])


@kinds
def test_errors_by_hand(make: type[Autoencoder]) -> None:
    images = torch.rand(3, 1, 28, 28) * 2 - 1
    for error, distance in (
        ("euclidean", lambda d: d.flatten(1).norm(dim=1)),
        ("absolute", lambda d: d.abs().mean((1, 2, 3))),
    ):
        network = make(SPEC, error=error).eval()
        assert torch.allclose(network(images), -distance(images - network.reconstruct(images)))


@kinds
def test_the_reconstruction_passes_through_the_code_alone(make: type[Autoencoder]) -> None:
    network = make(SPEC, code=5).eval()
    images = torch.rand(2, 1, 28, 28)
    codes = network.encode(images)
    assert codes.shape == (2, 5)
    assert torch.equal(network.reconstruct(images), network.decoder(codes, None))


def test_the_code_s_width_is_its_own_and_not_the_prior_s() -> None:
    widths = [
        m.in_features for m in fully_connected(SPEC, hidden=[9, 8], code=5).modules() if hasattr(m, "in_features")
    ]
    assert widths == [784, 9, 5, 8, 9, 8]  # encoder, decoder in reverse, and the layer to the code


def test_an_image_reconstructed_exactly_has_the_energy_zero_and_a_finite_slope() -> None:
    network = fully_connected(SPEC).eval()
    images = torch.zeros(2, 1, 28, 28, requires_grad=True)
    with torch.no_grad():
        network.decoder.head.weight.zero_()
        network.decoder.head.bias.zero_()
    logits = network(images)
    assert logits.abs().max() <= 1e-5
    logits.sum().backward()
    assert torch.isfinite(images.grad).all()
