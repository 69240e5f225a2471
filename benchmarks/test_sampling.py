"""Images/s that each registered generator draws, untrained, at MNIST's image size."""

from __future__ import annotations

import pytest
import torch
from pytest_benchmark.fixture import BenchmarkFixture

from ganzoo import AdversarialGame, AdversarialLoss, GaussianPrior, Spec
from ganzoo.evaluation.sampling import draw
from ganzoo.registry.loading import Zoo, load_zoo
from summary import throughput

SAMPLES = 1_000


class NoLoss(AdversarialLoss):
    """Nothing is trained here, but drawing needs an objective."""

    def discriminator(self, real: torch.Tensor, fake: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return fake.mean() * 0

    def generator(self, real: torch.Tensor | None, fake: torch.Tensor) -> torch.Tensor:
        """Zero."""
        return fake.mean() * 0


@pytest.mark.parametrize("generator", [entry.name for entry in load_zoo().generators])
def test_draw(benchmark: BenchmarkFixture, zoo: Zoo, device: torch.device, rounds: int, generator: str) -> None:
    spec = Spec((1, 28, 28), GaussianPrior(dim=64))
    entry = zoo.generators.get(generator)
    networks = {"generator": entry.create(spec, **entry.options.check({})).to(device)}
    objective = AdversarialGame(NoLoss())
    objective.bind(spec, networks)

    def samples() -> torch.Tensor:
        return draw(objective, networks, SAMPLES, seed=0, device=device)[0]

    images = benchmark.pedantic(samples, rounds=min(3, rounds), warmup_rounds=1)
    assert images.shape == (SAMPLES, 1, 28, 28)
    benchmark.extra_info.update(
        throughput(SAMPLES, benchmark.stats.stats),
        what=f"drawing from {generator}",
        generator=generator,
        parameters=sum(p.numel() for p in networks["generator"].parameters()),
    )
