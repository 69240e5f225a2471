"""Semi-supervised GAN: the K + 1 classes against a softmax of K + 1 logits, which labels are used, what is learned."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ganzoo import (
    Batch,
    Dataset,
    GanzooError,
    GaussianPrior,
    MetricInputs,
    Spec,
    TrainedModel,
    UniformPrior,
    share_interval,
)
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.trainer import Trainer
from ganzoo_plugins.networks.mlp import Discriminator, Generator
from ganzoo_plugins.objectives import semi_supervised
from ganzoo_plugins.objectives.semi_supervised import UNKNOWN, Pool, SemiSupervised, SupervisedTestError, TestError

SPEC = Spec((1, 4, 4), GaussianPrior(dim=3))


def built(**options: object) -> tuple[SemiSupervised, nn.ModuleDict]:
    objective = SemiSupervised(**{"classes": 3, "labels_per_class": 2, **options})
    judges = {role: Discriminator(SPEC) for role in ("discriminator", "alone")}
    networks = nn.ModuleDict({"generator": Generator(SPEC, hidden=[8]), **judges})
    networks.update(objective.bind(SPEC, networks))
    return objective, networks


def batch(n: int = 12) -> Batch:
    return Batch(torch.rand(n, 1, 4, 4) * 2 - 1, torch.arange(n) % 3, torch.randn(n, 3))


def paint(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)[:, None, None, None].expand(-1, 1, 2, 2)


def test_the_pool_keeps_the_first_of_each_class_and_nothing_else() -> None:
    pool = Pool((1, 2, 2), classes=3, per_class=2)
    pool.offer(paint([1, 2, 3, 4]), torch.tensor([2, 0, 2, 2]))
    assert pool.labels[:-1].tolist() == [0, UNKNOWN, UNKNOWN, UNKNOWN, 2, 2]
    pool.offer(paint([5, 6, 7, 8]), torch.tensor([0, 0, 2, 1]))
    assert pool.labels[:-1].tolist() == [0, 0, 1, UNKNOWN, 2, 2]
    pool.offer(paint([9, 10]), torch.tensor([1, 1]))
    pool.offer(paint([11, 12, 13]), torch.tensor([0, 1, 2]))
    assert pool.labels[:-1].tolist() == [0, 0, 1, 1, 2, 2]
    assert pool.images[:-1, 0, 0, 0].tolist() == [2, 5, 8, 9, 1, 3]
    assert pool.filled.tolist() == [2, 2, 2]


def test_what_is_drawn_is_what_was_kept() -> None:
    pool = Pool((1, 2, 2), classes=2, per_class=3)
    pool.offer(paint([0, 1, 2, 10, 11, 12, 3, 13]), torch.tensor([0, 0, 0, 1, 1, 1, 0, 1]))
    images, labels = pool.draw(200)
    assert set(images[:, 0, 0, 0].tolist()) == {0, 1, 2, 10, 11, 12}
    assert torch.equal(labels, (images[:, 0, 0, 0] >= 10).long())


@pytest.mark.parametrize("one_pass", [True, False])
def test_the_losses_are_those_of_a_softmax_over_k_plus_1_logits(one_pass: bool) -> None:
    objective, networks = built(weight=0.5)
    networks["discriminator"].per_image = one_pass
    seen = batch()
    torch.manual_seed(1)
    losses = objective.discriminator_loss(networks, seen)
    torch.manual_seed(1)
    images, labels = objective.pool.draw(12)

    def log_p(shown: Tensor) -> Tensor:
        logits = networks["discriminator"](shown)
        return torch.cat([logits, torch.zeros(len(logits), 1)], dim=1).log_softmax(1)

    fakes = networks["generator"](seen.z)
    is_real = log_p(seen.real).exp()[:, :3].sum(1).log()
    given_real = log_p(images)[:, :3].log_softmax(1)
    supervised = -given_real.gather(1, labels[:, None]).mean()
    assert (labels != UNKNOWN).all()
    assert torch.allclose(losses["supervised"], supervised, atol=1e-5)
    assert torch.allclose(losses["loss"], supervised / 2 - is_real.mean() - log_p(fakes)[:, 3].mean(), atol=1e-5)


def test_empty_places_teach_nothing() -> None:
    objective, networks = built(labels_per_class=50)
    assert torch.isfinite(objective.discriminator_loss(networks, batch(2))["loss"])
    images, labels = objective.pool.draw(200)
    known = labels != UNKNOWN
    assert 0 < known.sum() < 20
    logits = networks["discriminator"](images)
    assert torch.allclose(objective.supervised_loss(logits, labels), cross_entropy(logits[known], labels[known]))
    nothing_known, networks = built()
    images, labels = nothing_known.pool.draw(12)
    assert nothing_known.supervised_loss(networks["discriminator"](images), labels) == 0


def test_several_processes_whose_pools_would_differ_are_refused() -> None:
    objective, _ = built()
    objective.processes = 2
    with pytest.raises(GanzooError, match="without torchrun"):
        objective.phases()


def test_the_generator_s_losses() -> None:
    objective, networks = built()
    networks.eval()
    seen = batch()
    fakes, judge = networks["generator"](seen.z), networks["discriminator"]
    distance = (judge.features(seen.real).mean(0) - judge.features(fakes).mean(0)).square().mean()
    assert torch.allclose(objective.match_features(networks, seen)["loss"], distance)
    z = judge(fakes).exp().sum(1)
    assert torch.allclose(objective.fool(networks, seen)["loss"], -(z / (z + 1)).log().mean(), atol=1e-5)


def test_the_classifier_without_a_generator_sees_labelled_images_alone() -> None:
    """Its loss is the supervised one on a draw from the pool."""
    objective, networks = built()
    seen = batch()
    objective.pool.offer(seen.real, seen.label)
    torch.manual_seed(4)
    loss = objective.alone_loss(networks, Batch(torch.zeros(12, 1, 4, 4), torch.zeros(12).long(), seen.z))["loss"]
    torch.manual_seed(4)
    images, labels = objective.pool.draw(12)
    assert torch.allclose(loss, cross_entropy(networks["alone"](images), labels))
    label = torch.zeros(12, dtype=torch.int64)
    assert not torch.equal(
        *(call(networks, seen.real, label) for call in (objective.classify, objective.classify_alone))
    )


def test_the_paper_s_networks() -> None:
    mnist = Spec((1, 28, 28), UniformPrior(dim=100))
    generator, discriminator = semi_supervised.Generator(mnist), semi_supervised.Discriminator(mnist)

    def weights(network: nn.Module) -> list[tuple[int, ...]]:
        return [tuple(m.weight.shape) for m in network.modules() if isinstance(m, nn.Linear)]

    assert weights(generator) == [(500, 100), (500, 500), (784, 500)]
    assert weights(discriminator) == [(1000, 784), (500, 1000), (250, 500), (250, 250), (250, 250), (1, 250)]
    noise = [m.deviation for m in discriminator.modules() if isinstance(m, semi_supervised.Noise)]
    assert noise == [0.3, 0.5, 0.5, 0.5, 0.5, 0.5]


def test_weights_have_a_fixed_norm_and_outputs_begin_with_a_variance_of_one(mnist_test: Dataset) -> None:
    discriminator = semi_supervised.Discriminator(Spec((1, 28, 28), UniformPrior(dim=100)))
    x = mnist_test.images[:2000].flatten(1) / 255
    assert sum(isinstance(layer, semi_supervised.NormalisedLinear) for layer in discriminator.layers) == 5
    for layer in discriminator.layers:
        with torch.no_grad():
            x = layer(x)
        if isinstance(layer, semi_supervised.NormalisedLinear):
            assert x.var(0).mean().item() == pytest.approx(1, abs=0.25)
            with torch.no_grad():
                whole = layer(torch.eye(layer.in_features)) - layer.bias
                layer.weight.mul_(3)
                assert torch.allclose(layer(torch.eye(layer.in_features)) - layer.bias, whole, atol=1e-5)
            assert torch.allclose(whole.norm(dim=0), torch.full((layer.out_features,), layer.scale), rtol=1e-4)


def test_noise_has_its_deviation_in_training_and_is_none_otherwise() -> None:
    noise, zeros = semi_supervised.Noise(0.3), torch.zeros(50_000)
    drawn = noise(zeros)
    assert drawn.std().item() == pytest.approx(0.3, rel=0.03)
    assert abs(drawn.mean().item()) < 0.01
    assert torch.equal(noise.eval()(zeros), zeros)


def measured(metric: TestError, wrong: int) -> tuple[float, tuple[float, float]]:
    """The score of a model that is wrong about ``wrong`` of a hundred images."""
    images = torch.full((100, 1, 4, 4), 255, dtype=torch.uint8)
    images[:wrong] = 0
    data = Dataset("toy", "test", images, torch.ones(100, dtype=torch.int64), ("a", "b"))

    class Bright(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            return images.mean((1, 2, 3))[:, None] * torch.tensor([-1.0, 1.0])

    model = TrainedModel(SemiSupervised(), {"discriminator": Bright(), "alone": Bright()}, torch.device("cpu"), 30)
    real = SimpleNamespace(dataset=data)
    inputs = MetricInputs(2, lambda: None, None, real, lambda: real, model=model)
    value = metric.compute(inputs)
    return value, metric.interval(inputs, value)


@pytest.mark.parametrize("metric", [TestError(), SupervisedTestError()], ids=["semi-supervised", "alone"])
def test_the_test_error_is_the_share_of_wrong_classes_and_its_interval_a_proportion_s(metric: TestError) -> None:
    value, (low, high) = measured(metric, 20)
    assert value == pytest.approx(0.2)
    assert (low, high) == share_interval(20, 100)
    assert measured(metric, 0) == (0, share_interval(0, 100))


@pytest.mark.full
def test_a_hundred_labels_classify_most_test_digits(zoo: Zoo, mnist: Dataset, mnist_test: Dataset) -> None:
    settings = [
        "networks.generator={name: mlp, hidden: [64]}",
        "networks.discriminator={name: mlp, hidden: [128]}",
        "networks.alone={name: mlp, hidden: [16]}",
        "optimizers.default.lr=1e-3",
        "train.images=20000",
        "train.precision=fp32",
        "train.device=cpu",
    ]
    trainer = Trainer(load_recipe("semi-supervised-mnist", zoo, settings), zoo, dataset=mnist)
    for _ in range(trainer.total_steps):
        trainer.step()
    images = mnist_test.images.float() / 127.5 - 1
    with torch.no_grad():
        right = trainer.networks["discriminator"](images).argmax(1) == mnist_test.labels
    assert trainer.objective.pool.filled.tolist() == [10] * 10
    assert right.float().mean() > 0.7, f"{right.float().mean():.3f}"
