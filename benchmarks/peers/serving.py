"""The peer's side of the communication: trains a given number of batches by the peer's own loop, and draws samples.

It runs inside the peer's environment and uses nothing from ganzoo. Every package here trains by "for batch in loader",
so the loader can pause it: when asked for a batch beyond those that were ordered, the loader first reports how long
these took, then waits for the next order. The peer's loop is entered once and never reaches the end of an epoch, so its
checkpoints and pictures take no time.

Orders arrive as JSON lines on standard input, and each is answered by one line on standard output:

    {"do": "train", "batches": 20}                             {"seconds": 0.41, "images": 1280}
    {"do": "count", "batches": 1}                              {"flops": 81788928, "images": 64}
    {"do": "sample", "n": 100, "seed": 0, "path": "a.npz"}     {"path": "a.npz"}

The first line is sent without an order: what the peer is and how it trains. ``count`` also trains the networks.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset
from torch.utils.flop_counter import FlopCounterMode
from torchvision.datasets import MNIST
from torchvision.transforms import Compose, Lambda, Normalize, Pad, ToTensor

PADDING = 2
"""Pixels on each side: from MNIST's 28x28 to the 32x32 that these packages build networks for."""

AT_ONCE = 100
"""Number of images drawn together."""


@dataclass(frozen=True)
class Peer:
    """A package that is ready to train.

    Attributes:
        distribution: Its name on the package index.
        networks: Its networks, by role; samples are drawn in evaluation mode.
        draw: Draws this many images in [-1, 1], (n, 1, 32, 32).
        train: Enters the package's own training loop with a loader.
        loader: Its batches of real images.
        settings: Where its settings come from, in words.
        batches_per_step: Number of batches in one step of its loop.
    """

    distribution: str
    networks: dict[str, torch.nn.Module]
    draw: Callable[[int], torch.Tensor]
    train: Callable[[DataLoader[Any]], None]
    loader: Loader
    settings: str
    batches_per_step: int = 1


class Loader(DataLoader):  # type: ignore[type-arg]
    """A DataLoader that yields only the batches that are ordered, and waits otherwise."""

    desk: Desk | None = None

    def __iter__(self) -> Batches:  # type: ignore[override]
        """The batches of one epoch after another, without end."""
        return Batches(self._endless(), self.desk)

    def _endless(self) -> Iterator[Any]:
        while True:
            yield from super().__iter__()


class Batches:
    """The iterator of a training loop. Its old ``next`` method looks ahead: it returns a batch without an order."""

    def __init__(self, batches: Iterator[Any], desk: Desk | None) -> None:
        self.batches = batches
        self.desk = desk

    def __iter__(self) -> Batches:
        return self

    def __next__(self) -> Any:
        if self.desk is not None:
            self.desk.wait_for_order()
        return self.next()

    def next(self) -> Any:
        """A batch, without waiting for an order; torch's iterators had this method until 1.13."""
        return next(self.batches)


class Desk:
    """Takes orders between two batches."""

    def __init__(self, peer: Peer, device: torch.device, answers: Any) -> None:
        self.peer = peer
        self.device = device
        self.answers = answers
        self.left = 0
        self.ordered = 0
        self.began = 0.0
        self.counter: FlopCounterMode | None = None

    def wait_for_order(self) -> None:
        """Return immediately while ordered batches are left; otherwise report on them and take orders."""
        if self.left == 0:
            if self.ordered:
                self._report()
            while self.left == 0:
                self._take(sys.stdin.readline())
        self.left -= 1

    def say(self, **answer: Any) -> None:
        """Print one line."""
        print(json.dumps(answer), file=self.answers, flush=True)

    def _take(self, line: str) -> None:
        if not line:
            raise SystemExit  # the process that gives the orders has ended
        order = json.loads(line)
        if order["do"] == "sample":
            self._sample(order["n"], order["seed"], Path(order["path"]))
            return
        self.left = self.ordered = order["batches"]
        if order["do"] == "count":
            self.counter = FlopCounterMode(display=False)
            self.counter.__enter__()
        self._finish()
        self.began = perf_counter()

    def _report(self) -> None:
        self._finish()
        seconds = perf_counter() - self.began
        images = self.ordered * int(self.peer.loader.batch_size or 0)
        self.ordered = 0
        if self.counter is None:
            self.say(seconds=seconds, images=images)
            return
        self.counter.__exit__(None, None, None)
        self.say(flops=self.counter.get_total_flops(), images=images)
        self.counter = None

    def _sample(self, n: int, seed: int, path: Path) -> None:
        modes = [(module, module.training) for network in self.peer.networks.values() for module in network.modules()]
        for network in self.peer.networks.values():
            network.eval()
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn = [quantised(self.peer.draw(min(AT_ONCE, n - start))) for start in range(0, n, AT_ONCE)]
        for module, mode in modes:
            module.training = mode
        np.savez(path, images=np.concatenate(drawn))
        self.say(path=str(path))

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


def quantised(images: torch.Tensor) -> np.ndarray[Any, Any]:
    """From (n, 1, 32, 32) in [-1, 1] to uint8 (n, 28, 28), without the padding."""
    inner = images[:, 0, PADDING:-PADDING, PADDING:-PADDING].float()
    if inner.isnan().any():
        raise ValueError("the generator draws NaN")
    return ((inner + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).cpu().numpy()


def padded_mnist(folder: Path, channels: int = 1) -> Dataset[Any]:
    """MNIST as a tutorial reads it: each image decoded, padded to 32x32 and scaled to [-1, 1] on access."""
    scaled = [Pad(PADDING), ToTensor(), Normalize((0.5,), (0.5,))]
    repeated = [Lambda(lambda image: image.expand(channels, -1, -1))] if channels > 1 else []
    return MNIST(folder, train=True, transform=Compose([*scaled, *repeated]))


Build = Callable[[argparse.Namespace, torch.device, Path], Peer]
"""Makes a peer from the command line's arguments, a device, and a folder for files that it writes."""


def serve(build: Build, batch: int) -> None:
    """The main function of an adapter's file.

    Args:
        build: Makes the peer.
        batch: The batch size in its documentation.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds torchvision's MNIST")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=0, help="0 leaves the choice to torch")
    parser.add_argument("--batch", type=int, default=batch)
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    args.data = args.data.resolve()
    # From now on, output that packages print must not mix with the answers.
    answers, sys.stdout = sys.stdout, Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    device = torch.device(args.device)
    if device.type == "cuda":
        # The comparison is in fp32, and torch's default rounds the inputs of convolutions to TF32.
        torch.backends.cudnn.allow_tf32 = False
        if device.index is not None:  # for packages that know only "cuda"
            torch.cuda.set_device(device)
    with TemporaryDirectory() as scratch:
        os.chdir(scratch)
        torch.manual_seed(args.seed)
        peer = build(args, device, Path(scratch))
        desk = Desk(peer, device, answers)
        desk.say(**introduction(peer))
        peer.loader.desk = desk
        peer.train(peer.loader)


def introduction(peer: Peer) -> dict[str, Any]:
    """The first line: what the peer is and how it trains."""
    parameters = {role: sum(p.numel() for p in net.parameters()) for role, net in peer.networks.items()}
    return {
        "package": peer.distribution,
        "version": version(peer.distribution),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "batch": peer.loader.batch_size,
        "batches_per_step": peer.batches_per_step,
        "settings": peer.settings,
        "parameters": parameters,
    }
