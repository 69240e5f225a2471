"""Our side of the communication with a peer's process; ``serving`` is the other side."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ganzoo.api.dataset import cache_folder
from ganzoo_plugins.datasets.mnist.archive import unpack
from peers.catalogue import HERE, Package

ENVIRONMENT = {"MPLBACKEND": "Agg", "TENSORBOARD_LOGGING": "0", "PYTHONWARNINGS": "ignore", "TQDM_DISABLE": "1"}
"""No windows, and no logs other than what the package's training prints."""


class PeerError(Exception):
    """A peer's process ended or gave an invalid answer; the message is the last line that it printed."""


def mnist_folder() -> Path:
    """A folder with MNIST, laid out as by torchvision's own download; unpacked once."""
    folder = cache_folder("peers")
    unpack(folder / "MNIST" / "raw")
    return folder


class PeerProcess:
    """A package that trains in its own process and waits between orders.

    Args:
        package: The package.
        data: The folder that holds torchvision's MNIST.
        seed: Seed of its weights, its batches and its noise.
        device: Where it trains.
        batch: Batch size; None takes the one in its documentation.
        threads: CPU threads; 0 leaves the choice to torch.

    Attributes:
        greeting: Its description of itself: version, batch, parameters, ...

    Raises:
        PeerError: Its process cannot be started, or does not answer.
    """

    def __init__(
        self,
        package: Package,
        data: Path,
        *,
        seed: int = 0,
        device: torch.device | None = None,
        batch: int | None = None,
        threads: int = 0,
    ) -> None:
        command = [str(package.python), str(HERE / package.adapter), "--data", str(data), "--seed", str(seed)]
        command += ["--device", str(device or "cpu"), "--threads", str(threads)]
        command += [] if batch is None else ["--batch", str(batch)]
        self.name = package.name
        self._complaints = TemporaryFile()  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._complaints,
                text=True,
                env={**os.environ, **ENVIRONMENT},
            )
        except OSError as error:
            self._complaints.close()
            raise PeerError(f"{package.python} cannot be started ({error.strerror})") from error
        self.greeting = self._answer()

    @property
    def batch(self) -> int:
        """Images in a batch."""
        return int(self.greeting["batch"])

    @property
    def images_per_step(self) -> int:
        """Real images shown in one step of its loop."""
        return self.batch * int(self.greeting["batches_per_step"])

    def train(self, steps: int) -> float:
        """Take this many steps, and return the seconds that they took in its own process."""
        return float(self._ask(do="train", batches=steps * self.greeting["batches_per_step"])["seconds"])

    def flops_per_image(self) -> float:
        """Floating-point operations of one step per real image, counted while the step is taken."""
        answer = self._ask(do="count", batches=self.greeting["batches_per_step"])
        return float(answer["flops"]) / float(answer["images"])

    def sample(self, n: int, *, seed: int) -> Tensor:
        """Draw images: uint8 (n, 1, 28, 28)."""
        path = Path(gettempdir()) / f"ganzoo-peer-{os.getpid()}-{self._process.pid}.npz"
        try:
            self._ask(do="sample", n=n, seed=seed, path=str(path))
            with np.load(path) as file:
                return torch.from_numpy(file["images"]).unsqueeze(1)
        finally:
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """End the process."""
        with suppress(BrokenPipeError):  # it ended before it had read an order
            if self._process.stdin is not None:
                self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._complaints.close()

    def __enter__(self) -> PeerProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            self._fail("its process has ended")
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        try:
            answer = json.loads(line)
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            self._fail(f"it answered '{line.strip()}'" if line else "its process has ended")
        return answer

    def _fail(self, what: str) -> None:
        self._complaints.seek(0)
        said = self._complaints.read().decode(errors="replace").strip().splitlines()
        self._process.kill()
        self.close()
        raise PeerError(f"{self.name}: {said[-1] if said else what}")
