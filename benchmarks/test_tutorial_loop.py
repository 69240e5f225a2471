"""ganzoo's training beside a plain tutorial loop: same networks, same batch, same minutes.

The two take turns round by round, because a machine's speed drifts by more than what is to be measured. Once with the
precision that ganzoo chooses for the machine, and once with the tutorial's own, so that each gain is seen for itself.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from statistics import median
from time import perf_counter

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import nn

from ganzoo import ImageDataset
from ganzoo.plugins import Zoo
from ganzoo.recipe import load_recipe
from ganzoo.training.trainer import Trainer
from ganzoo_plugins.mnist.archive import unpack
from tutorial_loop import BATCH, TutorialLoop

STEPS = 20
ROUNDS = 12
WARMUP = 2


@pytest.mark.parametrize("precision", ["auto", "fp32"])
def test_ours_against_a_tutorial_loop(
    benchmark: BenchmarkFixture,
    zoo: Zoo,
    mnist: ImageDataset,
    mnist_root: Path,
    device: torch.device,
    finished: Callable[[], None],
    capsys: pytest.CaptureFixture[str],
    precision: str,
) -> None:
    recipe = load_recipe("vanilla-mnist", zoo, [f"train.precision={precision}"])
    ours = Trainer(recipe, zoo, dataset=mnist, device=device)
    theirs = TutorialLoop(mnist_root, device)
    assert sizes(ours.networks["generator"]) == sizes(theirs.generator)
    assert sizes(ours.networks["discriminator"]) == sizes(theirs.discriminator)
    assert ours.images_per_step == BATCH
    their_times: list[float] = []

    def tutorial_round() -> None:
        began = perf_counter()
        theirs.train(STEPS)
        finished()
        their_times.append(perf_counter() - began)

    def our_round() -> None:
        for _ in range(STEPS):
            ours.step()
        finished()

    benchmark.pedantic(our_round, setup=tutorial_round, rounds=ROUNDS, warmup_rounds=WARMUP)
    report = compare(benchmark.stats.stats.data, their_times[-ROUNDS:])
    benchmark.extra_info.update(report, precision=ours.precision, engine=ours.engine.name)
    with capsys.disabled():
        print(
            f"\nours in {ours.precision} {report['images_per_second']:,.0f} images/s, tutorial loop "
            f"{report['tutorial_images_per_second']:,.0f} images/s: {report['ratio']:.2f} times"
        )


def compare(our_times: list[float], their_times: list[float]) -> dict[str, float]:
    """Median speeds, and the median of the ratios of neighbouring rounds."""
    images = STEPS * BATCH
    return {
        "images_per_second": images / median(our_times),
        "tutorial_images_per_second": images / median(their_times),
        "ratio": median(tutorial / mine for tutorial, mine in zip(their_times, our_times, strict=True)),
    }


def sizes(network: nn.Module) -> list[torch.Size]:
    return [parameter.shape for parameter in network.parameters()]


@pytest.fixture
def mnist_root(tmp_path: Path) -> Path:
    """A folder as torchvision's own download would have left it."""
    unpack(tmp_path / "MNIST" / "raw")
    return tmp_path
