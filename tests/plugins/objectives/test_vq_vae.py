"""VQ-VAE: nearest codes, the copied gradient, a prior that looks back only, and samples that follow it."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

from ganzoo import Batch, GaussianPrior, Spec, UniformPrior
from ganzoo_plugins.networks import sngan
from ganzoo_plugins.networks.mlp import Generator
from ganzoo_plugins.objectives import vq_vae
from ganzoo_plugins.objectives.vq_vae import VQVAE, Codebook, PixelCNN

SPEC = Spec((1, 4, 4), UniformPrior(dim=6))


def linear_encoder() -> nn.Module:
    """So that what it does can be written down."""
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(16, 6)))


def built(spec: Spec = SPEC, **options: object) -> tuple[VQVAE, nn.ModuleDict]:
    objective = VQVAE(**{"codes": 5, "code_width": 2, "prior_width": 8, "prior_depth": 2, **options})
    networks = nn.ModuleDict({"encoder": linear_encoder(), "generator": Generator(spec, hidden=[8], norm="none")})
    networks.update(objective.bind(spec, networks))
    return objective, networks


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.zeros(n, dtype=torch.int64), torch.rand(n, 6) * 2 - 1)


def test_another_generator_gets_its_codes_in_one_row() -> None:
    """Even one with a ``grid`` of its own, which means something else there."""
    objective = VQVAE(codes=5, code_width=2, prior_width=8, prior_depth=2)
    networks = nn.ModuleDict({"encoder": linear_encoder(), "generator": sngan.Generator(SPEC, width=2)})
    networks.update(objective.bind(SPEC, networks))
    assert (objective.places, objective.code_width) == (3, 2)
    assert objective.reconstruct(networks, batch().real, batch().label).shape == (8, 1, 4, 4)


def test_reconstructions_are_normalised_by_their_own_codes() -> None:
    objective, networks = built()
    networks["generator"] = Generator(SPEC, hidden=[8, 8], norm="batch")
    networks.eval()
    norm, seen = next(part for part in networks.modules() if isinstance(part, nn.BatchNorm1d)), batch()
    first = objective.reconstruct(networks, seen.real, seen.label)
    norm.running_mean.fill_(100)  # as the prior's codes may have left it
    assert torch.equal(objective.reconstruct(networks, seen.real, seen.label), first)


def test_the_nearest_code_is_the_nearest() -> None:
    codebook, vectors = Codebook(7, 3), torch.randn(4, 5, 3)
    for row, found in zip(vectors.flatten(0, 1), codebook.nearest(vectors).flatten(), strict=True):
        distances = [(row - code).square().sum().item() for code in codebook.weight]
        assert found.item() == distances.index(min(distances))


def test_a_fresh_encoder_reaches_most_codes() -> None:
    """Where all images begin at a few codes, the decoder learns their mean, and the encoder no way to part them."""
    strokes = torch.full((64, 1, 28, 28), -1.0)
    for image in strokes:
        row, column = torch.randint(4, 16, (2,)).tolist()
        image[:, row : row + 8, column : column + 3] = 1.0
    spec = Spec((1, 28, 28), UniformPrior(dim=784))
    vectors = vq_vae.Encoder(spec, width=32)(strokes).view(64, 49, 16)
    assert len(Codebook(64, 16).nearest(vectors).unique()) > 32


def test_the_loss_is_the_paper_s_three_terms() -> None:
    objective, networks = built(commitment=0.5)
    seen = batch()
    losses = objective.autoencoder_loss(networks, seen)
    vectors = networks["encoder"](seen.real).view(8, 3, 2)
    codes = networks["codebook"].weight[networks["codebook"].nearest(vectors)]
    error = (networks["generator"](codes.flatten(1)) - seen.real).square().mean()
    gap = (vectors - codes).square().mean()
    assert torch.allclose(losses["error"], error, atol=1e-6)
    assert torch.allclose(losses["loss"], error + 1.5 * gap, atol=1e-5)


def test_each_gradient_goes_where_the_paper_sends_it() -> None:
    """The decoder's is copied to the encoder; codes are drawn to vectors, and vectors to codes β times as much."""
    objective, networks = built(commitment=0.5)
    seen = batch()
    vectors = networks["encoder"](seen.real).view(8, 3, 2)
    indices = networks["codebook"].nearest(vectors)
    codes = networks["codebook"].weight[indices].detach().requires_grad_()
    error = (networks["generator"](codes.flatten(1)) - seen.real).square().mean()
    (copied,) = torch.autograd.grad(error, codes)
    towards = 2 * (vectors - codes).detach() / vectors.numel()
    networks.zero_grad()
    objective.autoencoder_loss(networks, seen)["loss"].backward()
    wanted = (copied + 0.5 * towards).flatten(1).T @ seen.real.flatten(1)
    assert torch.allclose(networks["encoder"].linear.weight.grad, wanted, atol=1e-6)
    drawn = torch.zeros(5, 2).index_add_(0, indices.flatten(), -towards.flatten(0, 1))
    assert torch.allclose(networks["codebook"].weight.grad, drawn, atol=1e-6)


def test_the_number_of_codes_in_use() -> None:
    objective, networks = built()
    with torch.no_grad():
        networks["codebook"].weight.copy_(torch.tensor([[0.0, 0], [9, 9], [9, 9], [9, 9], [9, 9]]))
        networks["encoder"].linear.weight.zero_()
        networks["encoder"].linear.bias.zero_()
        assert objective.autoencoder_loss(networks, batch())["used_codes"].item() == pytest.approx(1)
        networks["encoder"].linear.bias.copy_(torch.tensor([0.0, 0, 9, 9, 9, 9]))
        entropy = torch.distributions.Categorical(torch.tensor([1 / 3, 2 / 3])).entropy()
        assert objective.autoencoder_loss(networks, batch())["used_codes"].item() == pytest.approx(entropy.exp().item())


NO_CLASS = torch.zeros(1, dtype=torch.int64)


def test_the_prior_sees_what_came_before_and_nothing_else() -> None:
    prior = PixelCNN(codes=5, grid=(3, 4), classes=0, width=8, depth=3)
    codes = torch.randint(4, (1, 12))
    whole = prior(codes, NO_CLASS)
    assert whole.shape == (1, 12, 5)
    for place in range(11):
        changed = codes.clone()
        changed[0, place] = 4
        moved = (prior(changed, NO_CLASS) - whole).abs().amax((0, 2))
        assert moved[: place + 1].max() < 1e-6
        assert moved[place + 1 :].min() > 1e-6, "a place after it does not see it"


def test_the_prior_s_loss_is_the_likelihood_of_all_places() -> None:
    objective, networks = built()
    seen = batch()
    indices = networks["codebook"].nearest(networks["encoder"](seen.real).view(8, 3, 2))
    log_p = networks["prior"](indices, seen.label).log_softmax(2).gather(2, indices[:, :, None])
    assert torch.allclose(objective.prior_loss(networks, seen)["loss"], -log_p.mean(), atol=1e-5)


@pytest.mark.parametrize("classes", [0, 3])
def test_samples_are_the_inverse_of_the_cumulative_distribution_that_forward_gives(classes: int) -> None:
    """Place by place from what the layers kept, against one call for the whole grid."""
    prior = PixelCNN(codes=6, grid=(4, 3), classes=classes, width=8, depth=2)
    uniform, label = torch.rand(50, 12), torch.arange(50) % max(1, classes)
    with torch.no_grad():
        prior.head[2].weight.mul_(4)
        drawn = prior.sample(uniform, label)
        cumulative = prior(drawn, label).softmax(2).cumsum(2)
    below = torch.cat([torch.zeros(50, 12, 1), cumulative], dim=2).gather(2, drawn[:, :, None]).squeeze(2)
    above = cumulative.gather(2, drawn[:, :, None]).squeeze(2)
    assert (below <= uniform + 1e-5).all()
    assert (uniform <= above + 1e-5).all()
    assert len(drawn.unique()) == 6


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, prior=GaussianPrior(dim=6))], ids=["uniform", "gaussian"])
def test_one_latent_code_gives_one_image_and_its_first_numbers_decide(spec: Spec) -> None:
    objective, networks = built(spec)
    z, label = spec.prior.sample(64, torch.Generator().manual_seed(0), torch.device("cpu")), torch.zeros(64).long()
    images = objective.generate(networks, z, label)
    assert torch.equal(objective.generate(networks, z, label), images)
    law = torch.distributions.Uniform(-1, 1) if spec is SPEC else torch.distributions.Normal(0.0, 1.0)
    codes = networks["codebook"](networks["prior"].sample(law.cdf(z[:, :3]), label))
    assert torch.allclose(images, networks["generator"](codes.flatten(1)), atol=1e-6)
    assert torch.allclose(objective.generate(networks, z[10:20], label[:10]), images[10:20], atol=1e-6)
    other = z.clone()
    other[:, 3:] = 0
    assert torch.equal(objective.generate(networks, other, label), images)
    assert len(images.flatten(1).unique(dim=0)) > 16


def test_a_number_at_the_very_top_still_chooses_a_code() -> None:
    prior = PixelCNN(codes=3, grid=(1, 2), classes=0, width=8, depth=1)
    drawn = prior.sample(torch.ones(2, 2), torch.zeros(2, dtype=torch.int64))
    assert drawn.tolist() == [[2, 2], [2, 2]]


def test_labels_change_the_prior() -> None:
    prior = PixelCNN(codes=5, grid=(1, 2), classes=2, width=8, depth=1)
    one, other = prior(torch.zeros(2, 2, dtype=torch.int64), torch.tensor([0, 1]))
    assert not torch.allclose(one, other)


def test_the_paper_s_networks_have_a_grid_of_a_quarter_of_the_sides() -> None:
    mnist = Spec((1, 28, 28), UniformPrior(dim=49 * 4))
    encoder, generator = vq_vae.Encoder(mnist, width=8), vq_vae.Generator(mnist, width=8)
    assert encoder.grid == generator.grid == (7, 7)
    kernels = [tuple(m.weight.shape) for m in encoder.modules() if isinstance(m, nn.Conv2d)]
    residual = [(8, 8, 3, 3), (8, 8, 1, 1)]
    assert kernels == [(8, 1, 4, 4), (8, 8, 4, 4), *residual, *residual, (4, 8, 1, 1)]
    assert encoder(torch.zeros(2, 1, 28, 28)).shape == (2, 196)
    # Numbers of one place make pixels around that place: in the receptive field of the residual blocks at most.
    code = torch.zeros(1, 7, 7, 4)
    with torch.no_grad():
        plain = generator(code.flatten(1))
        code[0, 0, 0] = 1
        moved = (generator(code.flatten(1)) - plain).abs()[0, 0]
    assert moved[:4, :4].max() > 0
    assert moved[20:, 20:].max() == 0


def test_places_of_a_grid_share_the_latent_code() -> None:
    spec = Spec((1, 12, 8), UniformPrior(dim=14))
    networks = nn.ModuleDict({"encoder": vq_vae.Encoder(spec, width=4), "generator": vq_vae.Generator(spec, width=4)})
    objective = VQVAE(codes=5, prior_width=8, prior_depth=1)
    networks.update(objective.bind(spec, networks))
    images, label = torch.rand(3, 1, 12, 8), torch.zeros(3, dtype=torch.int64)
    assert objective.encode(networks, images, label).shape == (3, 6, 3)
    assert networks["prior"].grid == (3, 2)
    assert objective.generate(networks, torch.rand(3, 14), label).shape == images.shape


def test_reconstructions_are_of_the_nearest_codes() -> None:
    objective, networks = built()
    seen = batch()
    codes = networks["codebook"](networks["codebook"].nearest(networks["encoder"](seen.real).view(8, 3, 2)))
    assert torch.equal(objective.reconstruct(networks, seen.real, seen.label), networks["generator"](codes.flatten(1)))


def test_the_prior_s_turn_comes_after_the_autoencoder_s() -> None:
    objective, _ = built()
    autoencoder, prior = objective.phases()
    assert autoencoder.end == prior.begin == 0.5
