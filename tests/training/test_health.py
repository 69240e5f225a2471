import math
from contextlib import nullcontext

import pytest
import torch

from ganzoo.api.metric import Features
from ganzoo.api.objective import Phase
from ganzoo.evaluation.features import SAMPLES, Directions, VarietyWatch, variety
from ganzoo.evaluation.requests import find_extractor
from ganzoo.registry.loading import load_zoo
from ganzoo.training.optim import broken_networks
from ganzoo.training.step import WATCH_EVERY, Meters, PhaseStep


def one_hot_logits(*classes):
    return torch.eye(10)[list(classes)]


def phase_step(name, networks, frozen=()):
    """A phase that trains all networks, none of which is ever asked for a loss."""
    return PhaseStep(Phase(name, tuple(networks), lambda networks, batch: {}), networks, (), nullcontext, frozen)


def test_norms_cover_all_gradients_of_a_network_together():
    networks = torch.nn.ModuleDict({"generator": torch.nn.Linear(2, 1), "encoder": torch.nn.Linear(1, 1, bias=False)})
    phase = phase_step("both", networks)
    watch = Meters()
    networks["generator"].weight.grad, networks["generator"].bias.grad = (
        torch.tensor([[3.0, 4.0]]),
        torch.tensor([12.0]),
    )
    networks["encoder"].weight.grad = torch.tensor([[-2.0]])
    watch.add("both", phase.gradient_norms())
    networks["encoder"].weight.grad = torch.tensor([[6.0]])
    watch.add("both", phase.gradient_norms())
    assert watch.flush() == {"both.generator": 13.0, "both.encoder": 4.0}
    assert watch.flush() == {}


def test_a_network_that_is_frozen_as_a_whole_is_left_out_and_one_frozen_in_part_is_not():
    networks = torch.nn.ModuleDict({name: torch.nn.Linear(2, 1) for name in ("frozen", "partly")})
    phase = phase_step("step", networks, [*networks["frozen"].parameters(), networks["partly"].bias])
    for network in networks.values():
        for parameter in network.parameters():
            parameter.grad = torch.full_like(parameter, 3.0)
    norms = phase.gradient_norms()
    assert list(norms) == ["partly"]
    assert norms["partly"].item() == pytest.approx(18**0.5)


def test_networks_without_gradients_or_parameters_are_accepted():
    networks = torch.nn.ModuleDict({"generator": torch.nn.Linear(2, 1), "tanh": torch.nn.Tanh()})
    watch = Meters()
    watch.add("both", phase_step("both", networks).gradient_norms())
    watch.add("nothing", phase_step("nothing", torch.nn.ModuleDict({"tanh": torch.nn.Tanh()})).gradient_norms())
    assert watch.flush() == {"both.generator": 0.0}


def test_every_phase_is_watched_on_some_steps_only(trainer):
    trained = trainer("regularizers=[{name: r1, every_steps: 4}]")
    trained.step()
    expected = {
        role: math.sqrt(sum(p.grad.double().square().sum().item() for p in network.parameters() if p.grad is not None))
        for role, network in trained.networks.items()
    }
    first = trained.gradients.flush()
    assert first.keys() == {"discriminator.discriminator", "discriminator/r1.discriminator", "generator.generator"}
    assert first["generator.generator"] == pytest.approx(expected["generator"], rel=1e-5)
    # The lazy regularizer ran in the discriminator's last turn.
    assert first["discriminator/r1.discriminator"] == pytest.approx(expected["discriminator"], rel=1e-5)
    for _ in range(WATCH_EVERY - 1):
        trained.step()
    assert trained.gradients.flush() == {}
    trained.step()
    assert trained.gradients.flush().keys() == first.keys()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_single_broken_number_is_found_in_weights_and_in_buffers_and_nothing_else_is_broken(value):
    def network():
        return torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))

    networks = {"whole": network(), "weights": network(), "buffers": network(), "tanh": torch.nn.Tanh()}
    with torch.no_grad():
        networks["weights"][0].weight[1, 2] = value
        networks["buffers"][1].running_var[0] = value
    assert broken_networks(networks) == ["weights", "buffers"]
    assert broken_networks({"tanh": torch.nn.Tanh()}) == []
    empty = torch.nn.Module()
    empty.register_buffer("seen", torch.empty(0))
    assert broken_networks({"empty": empty}) == []
    masked = torch.nn.Sequential(network(), torch.nn.Module())
    masked[1].register_buffer("mask", torch.full((2, 2), -math.inf).triu(1))
    assert broken_networks({"masked": masked}) == []  # as attention needs
    large = torch.nn.Linear(4, 4)
    torch.nn.init.constant_(large.weight, 1e38)  # whose squares are not finite
    assert broken_networks({"large": large}) == []


def test_variety_of_known_points():
    # The corners of a triangle with sides 3, 4 and 5; real points vary along the first two of three axes.
    corners = torch.tensor([[0.0, 0.0, 9.0], [3.0, 0.0, -9.0], [0.0, 4.0, 0.0]])
    real = Directions(torch.eye(3)[:, :2], torch.tensor([6.0, 2.0]))
    found = variety(Features(corners, one_hot_logits(1, 1, 7)), real)
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    # Variances of 3 and 16/3: half of the first direction's, and all of the second's, but not more.
    spread = (3.0 + 2.0) / 8.0
    assert found == pytest.approx({"samples": 3, "spread": spread, "nearest": 3.0, "classes": math.exp(entropy)})


def test_directions_hold_most_of_the_real_variance():
    torch.manual_seed(0)
    real = torch.randn(500, 4) * torch.tensor([4.0, 2.0, 1.0, 0.1]) + 7
    found = Directions.of(real)
    assert found.axes.shape == (4, 2)
    assert found.axes.T @ found.axes == pytest.approx(torch.eye(2), abs=1e-5)
    assert found.variances == pytest.approx(torch.tensor([16.0, 4.0]), rel=0.15)
    assert Directions.of(real[:1]).variances.max() < 1e-30


def test_copies_have_no_variety():
    copies, real = torch.full((20, 128), 7.3), Directions.of(torch.randn(50, 128))
    assert variety(Features(copies, one_hot_logits(*[4] * 20)), real) == {
        "samples": 20,
        "spread": pytest.approx(0.0, abs=1e-6),
        "nearest": pytest.approx(0.0, abs=1e-6),
        "classes": 1.0,
    }


def test_images_without_a_class_form_no_class():
    points, none = torch.randn(4, 2), torch.full((1, 10), -math.inf)
    real = Directions.of(points)
    half = variety(Features(points, torch.cat([one_hot_logits(0, 3), none, none])), real)
    assert half["classes"] == pytest.approx(2.0)
    assert "classes" not in variety(Features(points, torch.cat([one_hot_logits(0), none, none, none])), real)


def test_a_copy_of_each_class_fools_the_spread_but_not_the_nearest():
    torch.manual_seed(0)
    drawn = torch.randn(200, 16)
    copies, real = drawn[:10].repeat(20, 1), Directions.of(torch.randn(500, 16))
    found = variety(Features(copies, one_hot_logits(*(list(range(10)) * 20))), real)
    assert found["spread"] > 0.6
    assert found["classes"] == pytest.approx(10.0)
    assert found["nearest"] < 1e-5


def test_noise_on_a_single_picture_is_no_variety(mnist, mnist_test):
    watch = VarietyWatch({}, mnist, torch.device("cpu"))
    noise = torch.randint(-220, 221, (500, 1, 28, 28), generator=torch.Generator().manual_seed(0))
    noisy = (mnist_test.images[:1] + noise).clamp(0, 255).to(torch.uint8)
    measured = watch.measure(noisy)
    pairs = [torch.nn.functional.pdist(some.flatten(1).float()).mean() for some in (noisy, mnist_test.images[:500])]
    assert pairs[0] > 0.7 * pairs[1]  # in pixels, two of them differ nearly as much as two digits
    assert measured["variety"]["spread"] < 0.15 * measured["real_variety"]["spread"]


def test_unseen_real_images_are_as_varied_as_training_images(mnist, mnist_test):
    extractors = {name: find_extractor(name, load_zoo()) for name in ("mnist-ae", "mnist-cnn")}
    watch = VarietyWatch(extractors, mnist, torch.device("cpu"))
    assert watch.name == "mnist-ae"
    measured = watch.measure(mnist_test.images[:1000])
    assert measured["variety"]["samples"] == measured["real_variety"]["samples"] == SAMPLES
    assert measured["real_variety"]["classes"] == pytest.approx(10, abs=0.2)
    assert measured["variety"] == pytest.approx(measured["real_variety"], rel=0.15)


def test_few_samples_are_compared_by_pixels_without_metrics_with_equally_few_real_images(mnist, mnist_test):
    watch = VarietyWatch({}, mnist, torch.device("cpu"))
    assert watch.name == "pixels"
    measured = watch.measure(mnist_test.images[:50])
    assert measured["variety"]["samples"] == measured["real_variety"]["samples"] == 50
    assert measured["variety"] == pytest.approx(measured["real_variety"], rel=0.15)
    assert "classes" not in measured["variety"]


def test_a_small_data_set_is_compared_with_its_half(mnist, mnist_test):
    measured = VarietyWatch({}, mnist.rows(torch.arange(301)), torch.device("cpu")).measure(mnist_test.images[:500])
    assert measured["variety"]["samples"] == 150
    assert measured["variety"] == pytest.approx(measured["real_variety"], rel=0.15)
