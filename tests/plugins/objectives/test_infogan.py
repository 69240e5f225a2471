"""InfoGAN: the bound against torch's own distributions, who learns, and the layers of the paper's appendix."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from ganzoo import Batch, CodesPrior, GaussianPrior, Objective, Spec
from ganzoo.layers import own_statistics
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.objectives import infogan
from ganzoo_plugins.objectives.infogan import InfoGAN, information

PRIOR = CodesPrior(dim=4, categorical=(3, 5), continuous=2)
SPEC = Spec((1, 4, 4), PRIOR)


def draw(n: int = 8) -> Tensor:
    return PRIOR.sample(n, torch.Generator().manual_seed(0), torch.device("cpu"))


def built(objective: InfoGAN | None = None) -> tuple[Objective, nn.ModuleDict]:
    objective = objective or InfoGAN()
    networks = nn.ModuleDict(
        {"generator": Generator(SPEC, hidden=[8]), "discriminator": Discriminator(SPEC, hidden=[8, 6])}
    )
    networks.update(objective.bind(SPEC, networks))
    return objective, networks


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.zeros(n, dtype=torch.int64), draw(n))


def test_clusters_are_q_s_logits_of_the_first_code_by_the_images_own_statistics() -> None:
    objective, networks = built()
    seen = batch()
    networks.eval()
    before = {name: tensor.clone() for name, tensor in networks.state_dict().items()}
    found = objective.cluster(networks, seen.real, seen.label)
    assert not networks["recognition"].training
    assert all(torch.equal(tensor, before[name]) for name, tensor in networks.state_dict().items())
    networks.train()
    features = networks["discriminator"].features(seen.real)
    assert torch.equal(found, networks["recognition"](features)[:, :3])


def test_the_objective_agrees_with_torch_s_distributions() -> None:
    z, predicted = draw(), torch.randn(8, 10)
    first, second = z[:, 4:7].argmax(1), z[:, 7:12].argmax(1)
    log_q = Categorical(logits=predicted[:, :3]).log_prob(first) + Categorical(logits=predicted[:, 3:8]).log_prob(
        second
    )
    log_density = Normal(predicted[:, 8:], 1.0).log_prob(z[:, 12:]).sum(1)
    categorical, continuous = information(PRIOR, predicted, z)
    assert torch.allclose(categorical, log_q.mean() + math.log(15))
    assert torch.allclose(continuous, log_density.mean() + 2 * math.log(2))


def logged(predict: Callable[[Tensor], Tensor], n: int = 4096) -> dict[str, Tensor]:
    """What the generator's phase logs when Q's outputs are a function of the codes."""
    objective, networks = built()
    seen = batch(n)
    networks["recognition"] = nn.Module()
    networks["recognition"].forward = lambda _features: predict(seen.z[:, 4:])
    return objective.generator_loss(networks, seen)


@pytest.mark.parametrize("error", [0.1, 0.01])
def test_the_logged_bound_on_continuous_codes_is_that_of_the_best_deviation(error: float) -> None:
    """Codes that are known up to Gaussian noise: log 2 - log(σ √(2πe)) nats each, however small σ is."""
    found = logged(lambda codes: codes + error * torch.randn_like(codes))
    each = math.log(2) - math.log(error) - math.log(2 * math.pi * math.e) / 2
    assert found["continuous_bound"].item() == pytest.approx(2 * each, abs=0.1)
    assert found["continuous_bound"] > 0


def test_logged_bounds_of_a_q_that_knows_nothing() -> None:
    """None on classes; on a uniform code a little below, because Q is a Gaussian of the same variance, 1/3."""
    found = logged(torch.zeros_like)
    assert found["categorical_bound"].item() == pytest.approx(0, abs=1e-5)
    each = math.log(2) - math.log(2 * math.pi * math.e / 3) / 2
    assert found["continuous_bound"].item() == pytest.approx(2 * each, abs=0.05)


def test_either_sort_of_code_may_be_missing() -> None:
    only_classes = CodesPrior(dim=1, categorical=(2,), continuous=0)
    only_numbers = CodesPrior(dim=1, categorical=(), continuous=1)
    assert information(only_classes, torch.zeros(3, 2), torch.tensor([[0.0, 1.0, 0.0]] * 3))[1].item() == 0
    assert information(only_numbers, torch.zeros(3, 1), torch.zeros(3, 2))[0].item() == 0


def test_the_recognition_head_learns_in_both_phases() -> None:
    trained = [set(phase.trains) for phase in InfoGAN().phases()]
    assert trained == [{"discriminator", "recognition"}, {"generator", "recognition"}]


def test_losses_are_the_game_minus_weighted_information() -> None:
    objective, networks = built(InfoGAN(categorical_weight=2.0, continuous_weight=0.5))
    networks.eval()
    seen = batch()
    discriminator, generator = (phase.loss(networks, seen) for phase in objective.phases())
    images = networks["generator"](seen.z)
    real, fake = networks["discriminator"](seen.real), networks["discriminator"](images)
    predicted = networks["recognition"](networks["discriminator"].features(images))
    categorical, continuous = information(PRIOR, predicted, seen.z)
    bound = 2 * categorical + continuous / 2
    value = real.sigmoid().log().mean() + (1 - fake.sigmoid()).log().mean()
    assert torch.allclose(discriminator["loss"], -value - bound, atol=1e-5)
    wanted = -fake.sigmoid().log().mean() - bound
    assert torch.allclose(generator["loss"], wanted, atol=1e-5)
    first = next(networks["generator"].parameters())
    slopes = [torch.autograd.grad(loss, first)[0] for loss in (generator["loss"], wanted)]
    torch.testing.assert_close(*slopes)
    assert torch.allclose(generator["categorical_bound"], categorical)


def test_own_statistics_are_of_batch_normalisation_alone() -> None:
    layers = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.9)).eval()
    x = torch.tensor([[1.0, 5.0], [3.0, 1.0]])
    with own_statistics(layers):
        assert torch.allclose(layers(x), torch.tensor([[-1.0, 1.0], [1.0, -1.0]]), atol=1e-4)
    assert layers[0].running_mean.tolist() == [0, 0]
    assert torch.allclose(layers(x), x, atol=1e-4)


def spec(channels: int, height: int, width: int, classes: int = 0) -> Spec:
    return Spec((channels, height, width), GaussianPrior(dim=74), classes)


def weights(network: nn.Module) -> list[tuple[int, ...]]:
    layers = nn.Linear | nn.Conv2d | nn.ConvTranspose2d
    return [tuple(module.weight.shape) for module in network.modules() if isinstance(module, layers)]


def test_the_paper_s_layers_on_mnist() -> None:
    mnist = spec(1, 28, 28)
    generator, discriminator = infogan.Generator(mnist), infogan.Discriminator(mnist)
    assert weights(generator) == [(1024, 74), (7 * 7 * 128, 1024), (128, 64, 4, 4), (64, 1, 4, 4)]
    assert weights(discriminator) == [(64, 1, 4, 4), (128, 64, 4, 4), (1024, 7 * 7 * 128), (1, 1024)]
    assert discriminator.feature_width == 1024
    slopes = {module.negative_slope for module in discriminator.modules() if isinstance(module, nn.LeakyReLU)}
    assert slopes == {0.1}


def test_labels_come_into_the_generator_in_both_ways() -> None:
    conditional, label = spec(1, 28, 28, classes=3), torch.arange(3)
    assert weights(infogan.Generator(conditional, width=2))[0] == (32, 77)
    by_norm = infogan.Generator(conditional, width=2, conditioning="batch-norm")
    assert weights(by_norm)[0] == (32, 74)
    with torch.no_grad():
        by_norm.layers[1].shift[2] = 1.0
    images = by_norm.eval()(torch.zeros(3, 74), label)
    assert torch.allclose(images[0], images[1])
    assert not torch.allclose(images[0], images[2])
