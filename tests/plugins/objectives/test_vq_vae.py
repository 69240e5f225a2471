"""VQ-VAE: nearest codes, the copied gradient, a prior that looks back only, and samples that follow it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from ganzoo import Batch, CodesPrior, GanzooError, GaussianPrior, Spec, UniformPrior
from ganzoo_plugins.networks.mlp import Generator
from ganzoo_plugins.objectives.vq_vae import VQVAE, CausalPrior, Codebook

SPEC = Spec((1, 4, 4), UniformPrior(dim=6))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(16, 6)

    def forward(self, images: Tensor) -> Tensor:
        return self.linear(images.flatten(1))


def built(spec: Spec = SPEC, **options: object) -> tuple[VQVAE, nn.ModuleDict]:
    objective = VQVAE(**{"codes": 5, "code_width": 2, "prior_width": 8, "prior_depth": 2, **options})
    networks = nn.ModuleDict({"encoder": Encoder(), "generator": Generator(spec, hidden=[8], norm="none")})
    networks.update(objective.bind(spec, networks))
    return objective, networks


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.zeros(n, dtype=torch.int64), torch.rand(n, 6) * 2 - 1)


def test_the_nearest_code_is_the_nearest() -> None:
    codebook, vectors = Codebook(7, 3), torch.randn(4, 5, 3)
    for row, found in zip(vectors.flatten(0, 1), codebook.nearest(vectors).flatten(), strict=True):
        distances = [(row - code).square().sum().item() for code in codebook.weight]
        assert found.item() == distances.index(min(distances))


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


def test_the_prior_sees_what_came_before_and_nothing_else() -> None:
    prior = CausalPrior(codes=5, places=4, classes=0, width=8, depth=2)
    codes, label = torch.tensor([[0, 1, 2]]), torch.zeros(1, dtype=torch.int64)
    whole = prior(codes, label)
    assert whole.shape == (1, 4, 5)
    for place in range(3):
        changed = codes.clone()
        changed[0, place] = 4
        other = prior(changed, label)
        assert torch.allclose(other[0, : place + 1], whole[0, : place + 1], atol=1e-6)
        assert (other[0, place + 1 :] - whole[0, place + 1 :]).abs().amax(1).min() > 1e-4
        assert torch.allclose(prior(codes[:, :place], label), whole[:, : place + 1], atol=1e-5)


def test_the_prior_s_loss_is_the_likelihood_of_the_whole_row() -> None:
    objective, networks = built()
    seen = batch()
    indices = networks["codebook"].nearest(networks["encoder"](seen.real).view(8, 3, 2))
    total = torch.zeros(())
    for row in indices:
        for place in range(3):
            logits = networks["prior"](row[None, :place], torch.zeros(1, dtype=torch.int64))[0, -1]
            total = total - logits.log_softmax(0)[row[place]]
    assert torch.allclose(objective.prior_loss(networks, seen)["loss"], total / indices.numel(), atol=1e-5)


def test_samples_follow_the_prior() -> None:
    """Evenly spaced uniform numbers: each row of symbols comes as often as its probability says."""
    prior = CausalPrior(codes=3, places=2, classes=0, width=8, depth=1)
    with torch.no_grad():
        prior.head[1].weight.mul_(4)
        steps = (torch.arange(100) + 0.5) / 100
        uniform = torch.cartesian_prod(steps, steps)
        label = torch.zeros(len(uniform), dtype=torch.int64)
        drawn = prior.sample(uniform, label)
        for first in range(3):
            p_first = prior(drawn[:1, :0], label[:1])[0, 0].softmax(0)[first]
            p_second = prior(torch.tensor([[first]]), label[:1])[0, 1].softmax(0)
            for second in range(3):
                share = ((drawn[:, 0] == first) & (drawn[:, 1] == second)).float().mean()
                assert share.item() == pytest.approx((p_first * p_second[second]).item(), abs=0.015)


@pytest.mark.parametrize("spec", [SPEC, replace(SPEC, prior=GaussianPrior(dim=6))], ids=["uniform", "gaussian"])
def test_one_latent_code_gives_one_image_and_its_first_numbers_decide(spec: Spec) -> None:
    objective, networks = built(spec)
    z, label = spec.prior.sample(64, torch.Generator().manual_seed(0), torch.device("cpu")), torch.zeros(64).long()
    images = objective.generate(networks, z, label)
    assert torch.equal(objective.generate(networks, z, label), images)
    assert torch.allclose(objective.generate(networks, z[10:20], label[:10]), images[10:20], atol=1e-6)
    other = z.clone()
    other[:, 3:] = 0
    assert torch.equal(objective.generate(networks, other, label), images)
    assert len(images.flatten(1).unique(dim=0)) > 16


def test_a_number_at_the_very_top_still_chooses_a_code() -> None:
    prior = CausalPrior(codes=3, places=2, classes=0, width=8, depth=1)
    drawn = prior.sample(torch.ones(2, 2), torch.zeros(2, dtype=torch.int64))
    assert drawn.tolist() == [[2, 2], [2, 2]]


def test_labels_choose_the_first_token() -> None:
    prior = CausalPrior(codes=5, places=2, classes=2, width=8, depth=1)
    nothing = torch.zeros(2, 0, dtype=torch.int64)
    one, other = prior(nothing, torch.tensor([0, 1]))
    assert not torch.allclose(one, other)


@pytest.mark.parametrize(("index", "learners"), [(0, {"encoder", "generator", "codebook"}), (1, {"prior"})])
def test_each_phase_reaches_its_own_networks(index: int, learners: set[str]) -> None:
    objective, networks = built()
    phase = objective.phases()[index]
    for role, network in networks.items():
        network.requires_grad_(role in phase.trains)
    phase.loss(networks, batch())["loss"].backward()
    for role, network in networks.items():
        assert {p.grad is not None for p in network.parameters()} == {role in learners}, role


@pytest.mark.parametrize("prior", [UniformPrior(dim=7), CodesPrior(dim=4, categorical=(2,), continuous=0)], ids=str)
def test_a_prior_that_does_not_fit_is_refused_in_a_sentence(prior: UniformPrior | CodesPrior) -> None:
    with pytest.raises(GanzooError, match=r"multiple of 2 numbers.*prior: {name: uniform, dim: 32}"):
        VQVAE(code_width=2).bind(replace(SPEC, prior=prior), {})
