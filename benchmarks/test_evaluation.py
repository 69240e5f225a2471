"""How long all metrics take together, how much memory they need, and how that compares with one call per metric."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch import Tensor
from torch.utils import data

from ganzoo import Dataset, Images
from ganzoo.build import assemble
from ganzoo.config.loading import load_recipe
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.evaluation.requests import find_extractor
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo
from summary import throughput
from their_extractor import register

METRICS = [f"{name}@mnist-cnn" for name in ("fid", "kid", "precision", "recall", "coverage")]
SAMPLES = 10_000
MANY = 30_000
MAX_BYTES = 2 * 10**9
MAX_SECONDS = 15

PEAK = """
import resource, sys, torch
from ganzoo.evaluation.evaluator import Evaluator
from ganzoo.registry.loading import load_zoo

zoo = load_zoo()
entry = zoo.datasets.get("mnist")
evaluator = Evaluator(sys.argv[2:], entry, {}, None, zoo, torch.device("cpu"))
evaluator.score(entry.create("train", None).images[: int(sys.argv[1])])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))
"""


@pytest.fixture(scope="module")
def evaluator(zoo: Zoo, device: torch.device) -> Evaluator:
    """An evaluator that has already cached the scores of real images."""
    evaluator = Evaluator(METRICS, zoo.datasets.get("mnist"), {}, None, zoo, device)
    evaluator.score(zoo.datasets.get("mnist").create("train", None).images[:SAMPLES])
    return evaluator


@pytest.fixture(scope="module")
def sample(zoo: Zoo, device: torch.device) -> Callable[[], Tensor]:
    """Draws from vanilla-mnist, untrained, since training does not change the time."""
    recipe = load_recipe("vanilla-mnist", zoo)
    torch.manual_seed(0)
    assembly = assemble(recipe, zoo, Images(1, 28, 28), 10)
    assembly.networks.to(device)
    networks = dict(assembly.networks.items())
    return lambda: draw(assembly.objective, networks, SAMPLES, seed=0, device=device)[0]


def test_sampled_and_scored(benchmark: BenchmarkFixture, evaluator: Evaluator, sample: Callable[[], Tensor]) -> None:
    """10,000 samples drawn and scored with fid, kid, precision, recall and coverage."""
    measured = benchmark.pedantic(lambda: evaluator.score(sample()), rounds=3, warmup_rounds=1)
    assert [one.metric for one in measured] == METRICS
    benchmark.extra_info.update(throughput(SAMPLES, benchmark.stats.stats), what="drawing and scoring")
    assert benchmark.stats.stats.median < MAX_SECONDS


@pytest.mark.slow
@pytest.mark.parametrize("count", [SAMPLES, MANY])
def test_memory(benchmark: BenchmarkFixture, evaluator: Evaluator, count: int) -> None:
    """The peak memory of a separate process while it scores."""
    command = [sys.executable, "-c", PEAK, str(count), *METRICS]
    completed = benchmark.pedantic(
        subprocess.run, args=(command,), kwargs={"capture_output": True, "text": True, "check": True}, rounds=1
    )
    benchmark.extra_info["peak_bytes"] = peak = int(completed.stdout)
    assert peak < MAX_BYTES


class AsDataset(data.Dataset[Tensor]):
    """Images as torch-fidelity takes them."""

    def __init__(self, images: Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


@pytest.mark.slow
def test_torch_fidelity_once_for_each_metric(
    benchmark: BenchmarkFixture, zoo: Zoo, evaluator: Evaluator, mnist: Dataset, device: torch.device
) -> None:
    """Three calls of calculate_metrics (fid, kid, precision and recall), with the same extractor and images."""
    from torch_fidelity import calculate_metrics

    images, test = mnist.images[:SAMPLES], zoo.datasets.get("mnist").create("test", None).images
    name = register("mnist-cnn", find_extractor("mnist-cnn", zoo))

    def theirs() -> None:
        for metric in ("fid", "kid", "prc"):
            calculate_metrics(
                input1=AsDataset(images),
                input2=AsDataset(test),
                feature_extractor=name,
                cuda=device.type == "cuda",
                batch_size=500,
                save_cpu_ram=True,
                verbose=False,
                cache=False,
                **{metric: True},
            )

    benchmark.pedantic(theirs, rounds=1, warmup_rounds=1)
    started_at = time.perf_counter()
    evaluator.score(images)
    ours = time.perf_counter() - started_at
    benchmark.extra_info.update(ours_seconds=ours, ratio=benchmark.stats.stats.median / ours)
    assert ours < benchmark.stats.stats.median
