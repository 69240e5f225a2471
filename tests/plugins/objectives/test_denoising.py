"""Flow matching and DDPM against closed forms: images that are Gaussian have a known velocity and known noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

import ganzoo
from ganzoo import Batch, GaussianPrior, Spec
from ganzoo_plugins.networks.denoisers import MLP, UNet
from ganzoo_plugins.objectives import ddpm, flow_matching
from ganzoo_plugins.objectives.ddpm import DDPM, TIMES, Diffusion
from ganzoo_plugins.objectives.flow_matching import Flow, FlowMatching

SPEC = Spec((1, 1, 2), GaussianPrior(dim=2))
MEAN = torch.tensor([0.3, -0.2])
ROOT = torch.tensor([[0.15, 0.05], [0.05, 0.1]])
"""Images are MEAN + ROOT ε."""
COVARIANCE = ROOT @ ROOT
VARIANCES, AXES = torch.linalg.eigh(COVARIANCE)


class Velocity(nn.Module):
    """E[x_1 - x_0 | x_t] for images that are Gaussian."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        t = t[:, None]
        gain = (t * VARIANCES - (1 - t)) / ((1 - t) ** 2 + t**2 * VARIANCES)
        return (MEAN + ((x.flatten(1) - t * MEAN) @ AXES * gain) @ AXES.T).view(x.shape)


class Noise(nn.Module):
    """E[ε | x_t] for images that are Gaussian."""

    def __init__(self, kept: Tensor) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        kept = self.kept[(t * TIMES).round().long()][:, None]
        gain = (1 - kept).sqrt() / (kept * VARIANCES + 1 - kept)
        return (((x.flatten(1) - kept.sqrt() * MEAN) @ AXES * gain) @ AXES.T).view(x.shape)


def exact(steps: int, eta: float = 0.0) -> Diffusion:
    """The diffusion model that knows the noise."""
    kept = Diffusion(SPEC, nn.Identity(), 1, 0.0).kept
    return Diffusion(SPEC, Noise(kept), steps, eta)


def gaussian_batch(n: int) -> Batch:
    images = (MEAN + torch.randn(n, 2) @ ROOT).view(n, 1, 1, 2)
    return Batch(images, torch.zeros(n, dtype=torch.int64), torch.randn(n, 2))


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("heun", 2)])
def test_the_exact_velocity_takes_each_noise_to_its_image_as_accurately_as_the_solver_is(solver, order) -> None:
    """The velocity's flow is linear: it takes z to MEAN + ROOT z."""
    z = torch.randn(200, 2)
    image = MEAN + z @ ROOT

    def error(steps: int) -> float:
        return (Flow(SPEC, Velocity(), steps, solver)(z).flatten(1) - image).square().mean().sqrt().item()

    assert error(64) < 0.02 / 32 ** (order - 1)
    assert error(16) / error(32) == pytest.approx(2**order, rel=0.25)


def test_the_flow_loss_of_the_exact_velocity_is_the_variance_that_remains() -> None:
    """In each direction of deviation s, that of x_1 - x_0 given x_t is s² / ((1 - t)² + t² s²): over t, s π / 2."""
    objective = FlowMatching()
    flow = Flow(SPEC, Velocity(), 1, "euler")
    objective.bind(SPEC, {"generator": flow})
    batch = gaussian_batch(200_000)
    remaining = VARIANCES.sqrt().mean().item() * math.pi / 2
    assert objective.loss({"generator": flow}, batch)["loss"].item() == pytest.approx(remaining, rel=0.02)


def test_ddim_with_the_exact_noise_takes_each_noise_to_its_image() -> None:
    """With many steps, along the diffusion's probability flow, which takes z to MEAN + ROOT z."""
    z = torch.randn(200, 2)
    image = MEAN + z @ ROOT
    assert (exact(TIMES)(z).flatten(1) - image).abs().max() < 0.02
    assert (exact(50)(z).flatten(1) - image).abs().max() < 0.2


def test_ddpm_with_the_exact_noise_has_the_images_mean_and_covariance() -> None:
    samples = exact(TIMES, eta=1.0)(torch.randn(10_000, 2)).flatten(1)
    assert torch.allclose(samples.mean(0), MEAN, atol=8e-3)
    assert torch.allclose(samples.T.cov(), COVARIANCE, atol=2e-3)


def test_the_ddpm_loss_of_the_exact_noise_is_the_variance_that_remains() -> None:
    """In each direction of deviation s, that of ε given x_t is ᾱ s² / (ᾱ s² + 1 - ᾱ)."""
    objective, model = DDPM(), exact(1)
    objective.bind(SPEC, {"generator": model})
    kept = model.kept[1:, None]
    remaining = (kept * VARIANCES / (kept * VARIANCES + 1 - kept)).mean().item()
    loss = objective.loss({"generator": model}, gaussian_batch(200_000))["loss"].item()
    assert loss == pytest.approx(remaining, rel=0.02)


class Half(nn.Module):
    """Finds half of the image to be noise."""

    def forward(self, x: Tensor, t: Tensor, label: Tensor | None) -> Tensor:
        return x / 2


def test_a_step_of_ddim_is_equation_12() -> None:
    t, s, eta = 600, 450, 0.5
    betas = [1e-4 + (0.02 - 1e-4) * index / (TIMES - 1) for index in range(TIMES)]
    now, then = (math.prod(1 - beta for beta in betas[:time]) for time in (t, s))
    deviation = eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
    x = torch.randn(50, 1, 1, 2) * 0.05  # so that nothing is clipped
    torch.manual_seed(1)
    moved = Diffusion(SPEC, Half(), 1, eta).step(x, t, s)
    torch.manual_seed(1)
    clean = (x - math.sqrt(1 - now) * x / 2) / math.sqrt(now)
    expected = math.sqrt(then) * clean + math.sqrt(1 - then - deviation**2) * x / 2 + deviation * torch.randn_like(x)
    assert clean.abs().max() < 1
    torch.testing.assert_close(moved, expected, rtol=1e-4, atol=1e-5)


def test_a_step_of_ddpm_is_the_posterior_of_equation_7() -> None:
    t, model, x = 300, Diffusion(SPEC, Half(), TIMES, 1.0), torch.randn(50, 1, 1, 2) * 0.2
    now, then = model.kept[t], model.kept[t - 1]
    beta = 1 - now / then
    clean = (x - (1 - now).sqrt() * x / 2) / now.sqrt()
    mean = then.sqrt() * beta / (1 - now) * clean + (1 - beta).sqrt() * (1 - then) / (1 - now) * x
    torch.manual_seed(1)
    moved = model.step(x, t, t - 1)
    torch.manual_seed(1)
    expected = mean + ((1 - then) / (1 - now) * beta).sqrt() * torch.randn_like(x)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-4)


def test_an_image_beyond_the_range_is_clipped_and_the_noise_follows_it() -> None:
    model, x = Diffusion(SPEC, Half(), 1, 0.0), torch.full((1, 1, 1, 2), 3.0)
    now, then = model.kept[900], model.kept[800]
    noise = (3 - now.sqrt()) / (1 - now).sqrt()
    expected = then.sqrt() + (1 - then).sqrt() * noise
    torch.testing.assert_close(model.step(x, 900, 800), expected.expand_as(x))
    assert model(x.flatten(1)).flatten().tolist() == [1, 1]


@pytest.mark.parametrize("patch", [1, 2, 3])
def test_the_networks_keep_any_size_and_see_the_time_and_the_class(patch) -> None:
    spec = Spec((3, 21, 34), GaussianPrior(dim=8), classes=4)
    for network in (UNet(spec, 8, 2, patch), MLP(spec, 16, 2)):
        for parameter in network.parameters():
            parameter.data.add_(0.05 * torch.randn_like(parameter))
        x, label = torch.randn(1, 3, 21, 34).expand(2, -1, -1, -1), torch.tensor([0, 0])
        early_and_late = network(x, torch.tensor([0.2, 0.7]), label)
        assert early_and_late.shape == x.shape
        assert not torch.allclose(early_and_late[0], early_and_late[1])
        two_classes = network(x, torch.tensor([0.2, 0.2]), torch.tensor([0, 1]))
        assert not torch.allclose(two_classes[0], two_classes[1])


@pytest.mark.parametrize("name", ["flow-matching-mlp-mnist", "ddpm-mlp-mnist"])
def test_a_short_training_draws_images_by_their_codes(name, tmp_path) -> None:
    """Resumed ones, and those of the convolutional recipes, are in tests/faults."""
    small = {"networks.generator.width": 32, "networks.generator.steps": 3, "train.batch_size": 32}
    settings = {**small, "train.images": 3200, "train.log_every": 320, "evaluate.metrics": [], "conditional": True}
    run = ganzoo.train(ganzoo.recipe(name, **settings), out=tmp_path / "run")
    losses = [event[key] for event in run.folder.events() for key in event if key.endswith(".loss")]
    assert losses[-1] < 0.8 * losses[0]
    generator = ganzoo.load(tmp_path / "run")
    codes = torch.randn(4, 784)
    assert torch.equal(generator.decode(codes), generator.decode(codes))
    assert generator.sample(3, label=7).shape == (3, 1, 28, 28)


@pytest.mark.parametrize("module", [flow_matching, ddpm])
def test_gradients_reach_a_code_through_all_steps(module) -> None:
    spec = Spec((1, 4, 4), GaussianPrior(dim=16))
    z = torch.randn(2, 16, requires_grad=True)
    module.mlp(spec, width=8, steps=3)(z).sum().backward()
    assert z.grad.abs().sum() > 0
