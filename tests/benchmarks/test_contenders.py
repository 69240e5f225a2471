"""The contenders' common interface: what they count and draw."""

from __future__ import annotations

import pytest
import torch

from contenders import Contender, Ours, Tutorial
from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from peers.talk import mnist_folder

CPU = torch.device("cpu")
G = [100 * 128, 128 * 256, 256 * 512, 512 * 1024, 1024 * 784]
D = [784 * 512, 512 * 256, 256 * 1]
"""Multiplications of each layer for one image."""


@pytest.fixture(params=["tutorial", "vanilla-mnist"])
def contender(request: pytest.FixtureRequest, zoo: Zoo, mnist: Dataset) -> Contender:
    if request.param == "tutorial":
        return Tutorial(mnist_folder(), 0, CPU)
    constant = ["train.precision=fp32", "optimizers.default.lr=1e-3"]
    return Ours(load_recipe("vanilla-mnist", zoo, constant), zoo, mnist, CPU)


def test_contenders_train_and_draw_whole_sets(contender: Contender) -> None:
    before = contender.sample(501, seed=3)
    assert (before.shape, before.dtype) == ((501, 1, 28, 28), torch.uint8)
    assert contender.sample(501, seed=3).equal(before)
    assert not contender.sample(501, seed=4).equal(before)
    assert contender.train(2) > 0
    assert not contender.sample(501, seed=3).equal(before)
    assert contender.steps_left is None
    assert contender.images_per_step == contender.facts["batch"] == 128


def test_the_tutorial_loop_has_the_networks_of_the_recipe(zoo: Zoo, mnist: Dataset) -> None:
    loop = Tutorial(mnist_folder(), 0, CPU).loop
    ours = Ours(load_recipe("vanilla-mnist", zoo), zoo, mnist, CPU).trainer.networks
    for theirs, mine in ((loop.generator, ours["generator"]), (loop.discriminator, ours["discriminator"])):
        assert [p.shape for p in mine.parameters()] == [p.shape for p in theirs.parameters()]


def test_the_tutorial_loop_costs_what_its_layers_do() -> None:
    loop = Tutorial(mnist_folder(), 0, CPU)
    # A product forward, one for the weights' gradient and, but for the first layer, one for the input's.
    generator = 3 * sum(G) - G[0]
    on_its_turn = 2 * (3 * sum(D) - D[0])
    on_the_generators = 3 * sum(D)  # whose gradient goes through to the pixels; D's own is computed for nothing
    assert loop.flops_per_image() == 2 * (generator + on_its_turn + on_the_generators)


def test_a_recipe_with_a_schedule_ends(zoo: Zoo, mnist: Dataset) -> None:
    ours = Ours(load_recipe("vanilla-mnist", zoo, ["train.images=512"]), zoo, mnist, CPU)
    assert ours.steps_left == 4
    ours.train(4)
    assert ours.steps_left == 0
