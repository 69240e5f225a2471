"""How fast batches are read: the resident sampler and a DataLoader, on the same images, in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from statistics import median
from time import perf_counter

import torch
from pytest_benchmark.fixture import BenchmarkFixture
from torch.utils import data

from ganzoo import Dataset
from ganzoo.data import Sampler
from summary import throughput

BATCH = 128
BATCHES = 50


class Normalised(data.Dataset[torch.Tensor]):
    """One image at a time, as float32 in [-1, 1], which is how a DataLoader usually gets it."""

    def __init__(self, images: torch.Tensor) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.images[index].float() / 127.5 - 1


def test_resident_sampler_against_a_dataloader(
    benchmark: BenchmarkFixture, mnist: Dataset, device: torch.device, finished: Callable[[], None], rounds: int
) -> None:
    sampler = Sampler(mnist, BATCH, seed=0, device=device)
    # One iterator for all rounds, because each epoch begins by permuting all images.
    batches = endless(data.DataLoader(Normalised(mnist.images), batch_size=BATCH, shuffle=True))
    their_times: list[float] = []

    def theirs() -> None:
        started_at = perf_counter()
        for images in islice(batches, BATCHES):
            images.to(device)
        finished()
        their_times.append(perf_counter() - started_at)

    def ours() -> None:
        for _ in range(BATCHES):
            sampler.next()
        finished()

    benchmark.pedantic(ours, setup=theirs, rounds=rounds, warmup_rounds=1)
    our_times = benchmark.stats.stats.data
    benchmark.extra_info.update(
        throughput(BATCH * BATCHES, benchmark.stats.stats),
        what="batches",
        dataloader_images_per_second=BATCH * BATCHES / median(their_times[-rounds:]),
        ratio=median(their / our for their, our in zip(their_times[-rounds:], our_times, strict=True)),
    )


def endless(loader: data.DataLoader[torch.Tensor]) -> Iterator[torch.Tensor]:
    """Epoch after epoch."""
    while True:
        yield from loader
