import math
from contextlib import nullcontext

import pytest
import torch

from ganzoo.api.metric import Features
from ganzoo.api.objective import Phase
from ganzoo.evaluation.features import SAMPLES, VarietyWatch, variety
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
    # The corners of a triangle with sides 3, 4 and 5.
    corners = torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    found = variety(Features(corners, one_hot_logits(1, 1, 7)))
    entropy = -(2 / 3 * math.log(2 / 3) + 1 / 3 * math.log(1 / 3))
    assert found == pytest.approx({"samples": 3, "distance": 4.0, "nearest": 3.0, "classes": math.exp(entropy)})


def test_copies_have_no_variety():
    copies = torch.full((20, 128), 7.3)
    assert variety(Features(copies, one_hot_logits(*[4] * 20))) == {
        "samples": 20,
        "distance": 0.0,
        "nearest": 0.0,
        "classes": 1.0,
    }


def test_images_without_a_class_form_no_class():
    points, none = torch.randn(4, 2), torch.full((1, 10), -math.inf)
    half = variety(Features(points, torch.cat([one_hot_logits(0, 3), none, none])))
    assert half["classes"] == pytest.approx(2.0)
    assert "classes" not in variety(Features(points, torch.cat([one_hot_logits(0), none, none, none])))


def test_a_copy_of_each_class_fools_the_mean_distance_but_not_the_nearest():
    torch.manual_seed(0)
    drawn = torch.randn(200, 16)
    copies = drawn[:10].repeat(20, 1)
    logits = one_hot_logits(*(list(range(10)) * 20))
    real, fake = variety(Features(drawn, logits)), variety(Features(copies, logits))
    assert fake["distance"] > 0.8 * real["distance"]
    assert fake["classes"] == pytest.approx(10.0)
    assert fake["nearest"] == 0.0


def test_unseen_real_images_are_as_varied_as_training_images(mnist, mnist_test):
    extractors = {name: find_extractor(name, load_zoo()) for name in ("mnist-ae", "mnist-cnn")}
    watch = VarietyWatch(extractors, mnist, torch.device("cpu"))
    assert watch.name == "mnist-cnn"
    measured = watch.measure(mnist_test.images[:1000])
    assert measured["variety"]["samples"] == measured["real_variety"]["samples"] == SAMPLES
    assert measured["real_variety"]["classes"] == pytest.approx(10, abs=0.2)
    assert measured["variety"] == pytest.approx(measured["real_variety"], rel=0.05)


def test_few_samples_are_compared_by_pixels_without_metrics_with_equally_few_real_images(mnist, mnist_test):
    watch = VarietyWatch({}, mnist, torch.device("cpu"))
    assert watch.name == "pixels"
    measured = watch.measure(mnist_test.images[:50])
    assert measured["variety"]["samples"] == measured["real_variety"]["samples"] == 50
    chosen = torch.randperm(len(mnist), generator=torch.Generator().manual_seed(0))[:50]
    pixels = mnist.images[chosen].flatten(1).double() / 255
    pairs = torch.nn.functional.pdist(pixels)
    assert measured["real_variety"]["distance"] == pytest.approx(pairs.mean().item(), rel=1e-5)
    assert "classes" not in measured["variety"]
