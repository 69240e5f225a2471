"""ClusterGAN: codes found again against torch's own losses, the scaled prior, and who learns when."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from itertools import permutations
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical

from ganzoo import (
    Batch,
    CodesPrior,
    Dataset,
    MetricInputs,
    ModelMetric,
    Spec,
    TrainedModel,
)
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.objectives.cluster_gan import (
    ClusterGAN,
    ClusteringAccuracy,
    ClusteringInformation,
    clustering_accuracy,
    contingency,
    normalised_information,
    recovered,
)

PRIOR = CodesPrior(dim=4, categorical=(3, 5), continuous=0)
SPEC = Spec((1, 4, 4), PRIOR)


class Slope(nn.Module):
    """A critic D(x) = s (x_1 + ... + x_16), whose gradient has the norm 4 |s| everywhere."""

    def __init__(self, slope: float) -> None:
        super().__init__()
        self.slope = nn.Parameter(torch.tensor(slope))

    def forward(self, images: Tensor) -> Tensor:
        return self.slope * images.flatten(1).sum(1)


def draw(n: int = 8) -> Tensor:
    return PRIOR.sample(n, torch.Generator().manual_seed(0), torch.device("cpu"))


def batch(n: int = 8) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.zeros(n, dtype=torch.int64), draw(n))


def linear_encoder() -> nn.Module:
    """So that what it does can be written down."""
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), linear=nn.Linear(16, 12)))


def built(discriminator: nn.Module | None = None, **options: object) -> tuple[ClusterGAN, nn.ModuleDict]:
    objective = ClusterGAN(**options)
    players = {"generator": Generator(SPEC, hidden=[8]), "discriminator": Discriminator(SPEC, hidden=[8])}
    networks = nn.ModuleDict({**players, "encoder": linear_encoder()})
    if discriminator is not None:
        networks["discriminator"] = discriminator
    objective.bind(SPEC, networks)
    return objective, networks


def test_what_is_recovered_agrees_with_torch_s_distributions() -> None:
    z, found = draw(), torch.randn(8, 12)
    noise, code = recovered(PRIOR, found, z)
    first = Categorical(logits=found[:, 4:7]).log_prob(z[:, 4:7].argmax(1))
    second = Categorical(logits=found[:, 7:]).log_prob(z[:, 7:].argmax(1))
    assert torch.allclose(noise, (z[:, :4] - found[:, :4]).square().mean())
    assert torch.allclose(code, -(first + second).mean())


def test_only_the_noise_is_scaled_and_the_generator_sees_it_so() -> None:
    objective, networks = built(noise_scale=0.25)
    z = draw()
    assert torch.equal(objective.scaled(z)[:, :4], z[:, :4] / 4)
    assert torch.equal(objective.scaled(z)[:, 4:], z[:, 4:])
    seen = torch.cat([z[:, :4] / 4, z[:, 4:]], dim=1)
    images = objective.generate(networks, z, torch.zeros(8, dtype=torch.int64))
    assert torch.equal(images, networks["generator"](seen))


def test_clusters_are_the_logits_of_the_first_code() -> None:
    objective, networks = built()
    seen = batch()
    found = objective.cluster(networks, seen.real, seen.label)
    assert torch.equal(found, networks["encoder"](seen.real)[:, 4:7])


def test_the_accuracy_is_that_of_the_best_of_all_assignments() -> None:
    """Against trying every permutation."""
    random = torch.Generator().manual_seed(0)
    for _ in range(5):
        table = torch.randint(20, (4, 4), generator=random)
        best = max(sum(table[row, column] for row, column in enumerate(order)) for order in permutations(range(4)))
        assert clustering_accuracy(table) == pytest.approx((best / table.sum()).item())
    assert clustering_accuracy(torch.tensor([[0, 7, 0], [0, 0, 2], [5, 0, 0]])) == 1
    assert clustering_accuracy(torch.tensor([[5, 5], [5, 5]])) == 0.5
    assert clustering_accuracy(torch.tensor([[3, 0], [0, 4], [3, 0]])) == 0.7, "one cluster to a class"


def test_the_information_is_the_entropies_closed_form() -> None:
    assert normalised_information(torch.tensor([[0, 7], [7, 0]])) == pytest.approx(1)
    assert normalised_information(torch.tensor([[5, 5], [5, 5]])) == pytest.approx(0, abs=1e-12)
    assert normalised_information(torch.tensor([[7]])) == 0
    # I = H(class) - H(class | cluster) = ln 2 - 1/2 ln 2, of entropies ln 2 (classes) and 3/2 ln 2 (clusters).
    table = torch.tensor([[2, 2], [2, 0], [0, 2]])
    assert normalised_information(table) == pytest.approx(0.5 / 1.25)


def test_images_are_counted_by_cluster_and_class() -> None:
    clusters, classes = torch.tensor([1, 0, 1, 1, 3]), torch.tensor([2, 0, 2, 1, 0])
    assert contingency(clusters, classes).tolist() == [[1, 0, 0], [0, 1, 2], [0, 0, 0], [1, 0, 0]]


@pytest.mark.parametrize(
    ("metric", "of_table"),
    [(ClusteringAccuracy(), clustering_accuracy), (ClusteringInformation(), normalised_information)],
    ids=["accuracy", "information"],
)
def test_the_metrics_look_at_the_clusters_of_real_images(
    metric: ModelMetric, of_table: Callable[[Tensor], float]
) -> None:
    objective, networks = built()
    images = torch.randint(256, (40, 1, 4, 4), dtype=torch.uint8)
    found = objective.cluster(networks, images / 127.5 - 1, torch.zeros(40).long()).argmax(1)
    labels = (found + 1) % 3
    labels[::4] = (labels[::4] + 1) % 3
    real = SimpleNamespace(dataset=Dataset("toy", "test", images, labels, ("a", "b", "c")))
    model = TrainedModel(objective, networks, torch.device("cpu"), batch_size=15)
    inputs = MetricInputs(2, lambda: None, None, real, lambda: real, model=model)
    assert metric.compute(inputs) == of_table(contingency(found, labels)) < 1


def test_the_critic_s_loss_is_the_difference_of_means_and_the_penalty() -> None:
    objective, networks = built(Slope(0.5), penalty_weight=3.0)
    networks.eval()
    seen = batch()
    losses = objective.discriminator_loss(networks, seen)
    fakes = objective.generate(networks, seen.z, seen.label)
    means = [networks["discriminator"](images).mean() for images in (seen.real, fakes)]
    norm = 2 * (4 * 0.5)  # by pixels in [0, 1], as the authors', which a step in [-1, 1] moves half as far
    assert losses["penalty"].item() == pytest.approx((norm - 1) ** 2, rel=1e-5)
    assert torch.allclose(losses["loss"], means[1] - means[0] + 3 * (norm - 1) ** 2, atol=1e-5)


@pytest.mark.parametrize("game", ["wasserstein", "non-saturating"])
def test_the_generator_s_loss_is_its_game_and_what_the_encoder_misses(game: str) -> None:
    objective, networks = built(noise_weight=2.0, code_weight=0.5, game=game)
    networks.eval()
    seen = batch()
    losses = objective.generator_loss(networks, seen)
    images = objective.generate(networks, seen.z, seen.label)
    noise, code = recovered(PRIOR, networks["encoder"](images), objective.scaled(seen.z))
    logits = networks["discriminator"](images)
    played = -logits.mean() if game == "wasserstein" else -logits.sigmoid().log().mean()
    wanted = played + 2 * noise + code / 2
    assert torch.allclose(losses["loss"], wanted, atol=1e-5)
    first = next(networks["generator"].parameters())
    slopes = [torch.autograd.grad(loss, first)[0] for loss in (losses["loss"], wanted)]
    torch.testing.assert_close(*slopes)


def test_the_other_game_has_no_penalty() -> None:
    objective, networks = built(game="non-saturating")
    networks.eval()
    seen = batch()
    losses = objective.discriminator_loss(networks, seen)
    fakes = objective.generate(networks, seen.z, seen.label)
    real, fake = (networks["discriminator"](images).sigmoid() for images in (seen.real, fakes))
    assert torch.allclose(losses["loss"], -real.log().mean() - (1 - fake).log().mean(), atol=1e-5)
    assert "penalty" not in losses
