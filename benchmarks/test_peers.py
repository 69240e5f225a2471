"""ganzoo's training speed next to other packages' and a tutorial loop's: images and FLOPs per second.

Images are the real images shown. Networks and losses differ, so one figure alone is not enough: images per second
favour small networks, and FLOPs per second large ones. Both sides use the same batch size and alternate, since a
machine's speed drifts by more than the difference to be measured. Each comparison is made once with the precision that
ganzoo chooses, and once with the other side's, fp32.
"""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from contenders import Contender, Ours, Peer, Tutorial
from ganzoo import Dataset
from ganzoo.config.loading import load_recipe
from ganzoo.registry.loading import Zoo
from ganzoo.training.engines import WARM_UP
from peers.catalogue import PEERS
from peers.talk import mnist_folder
from summary import throughput

IMAGES = {"cpu": 5_120, "cuda": 102_400}
"""Images in one round, by device: the same amount of work in every run, so that two runs can be compared."""
LONGEST = 60.0
"""Seconds that all rounds of the other side may take together, if its steps are slow."""
SLOW = 5.0
"""A step that takes this many seconds is not repeated to warm up."""
RECIPES = {"tutorial": "vanilla-mnist", **{name: package.recipe for name, package in PEERS.items()}}
"""The ganzoo recipe nearest to each: fully connected for fully connected, convolutional for convolutional."""


@pytest.fixture
def theirs(peer: str, device: torch.device) -> Iterator[Contender]:
    """The other side."""
    if peer == "tutorial":
        yield Tutorial(mnist_folder(), 0, device)
        return
    if missing := PEERS[peer].missing():
        pytest.skip(missing)
    contender = Peer(PEERS[peer], mnist_folder(), 0, device)
    yield contender
    contender.close()


@pytest.mark.parametrize("precision", ["auto", "fp32"])
@pytest.mark.parametrize("peer", list(RECIPES))
def test_ours_against_a_peer(
    benchmark: BenchmarkFixture,
    zoo: Zoo,
    mnist: Dataset,
    device: torch.device,
    rounds: int,
    theirs: Contender,
    peer: str,
    precision: str,
) -> None:
    batch = theirs.facts["batch"]
    changes = [f"train.precision={precision}", f"train.batch_size={batch}"]
    ours = Ours(load_recipe(RECIPES[peer], zoo, changes), zoo, mnist, device)
    if precision == "auto" and ours.trainer.precision == "fp32":
        pytest.skip("auto is fp32 on this device, which is measured separately")
    their_work, our_work = theirs.flops_per_image(), ours.flops_per_image()
    images = IMAGES.get(device.type, IMAGES["cuda"])
    our_steps = max(1, round(images / ours.images_per_step))
    ours.train(WARM_UP + 1)  # the last of them captures, if the engine captures steps
    their_steps, their_seconds = steps_in(theirs, images)
    rounds = max(2, min(rounds, int(LONGEST / their_seconds)))
    their_rates: list[float] = []

    def their_round() -> None:
        their_rates.append(their_steps * theirs.images_per_step / theirs.train(their_steps))

    benchmark.pedantic(ours.train, args=(our_steps,), setup=their_round, rounds=rounds)
    our_rates = [our_steps * ours.images_per_step / seconds for seconds in benchmark.stats.stats.data]
    benchmark.extra_info.update(
        throughput(our_steps * ours.images_per_step, benchmark.stats.stats),
        **compare(our_rates, their_rates, our_work, their_work),
        peer=peer,
        recipe=RECIPES[peer],
        ours=ours.facts,
        theirs=theirs.facts,
    )


def compare(ours: list[float], theirs: list[float], our_work: float, their_work: float) -> dict[str, float]:
    """Median images and FLOPs per second of both, and the medians of the ratios of neighbouring rounds."""
    ratio = median(mine / other for mine, other in zip(ours, theirs, strict=True))
    return {
        "peer_images_per_second": median(theirs),
        "ratio": ratio,
        "flops_per_image": our_work,
        "peer_flops_per_image": their_work,
        "flops_per_second": median(ours) * our_work,
        "peer_flops_per_second": median(theirs) * their_work,
        "flops_ratio": ratio * our_work / their_work,
    }


def steps_in(contender: Contender, images: int) -> tuple[int, float]:
    """The number of steps for this many images, or fewer if those take too long, and the seconds that they take.

    Estimated from the second step, since the first one warms everything up; from the first if that one is slow.
    """
    seconds = contender.train(1)
    if seconds < SLOW:
        seconds = contender.train(1)
    steps = max(1, round(min(images / contender.images_per_step, LONGEST / 10 / seconds)))
    return steps, steps * seconds
