"""One training by several processes, as torchrun starts them: torch.distributed, and nothing home-made beside it.

Every process holds the same weights and sees its own part of each batch. The first one leads: it alone writes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

from ganzoo.errors import GanzooError, RunError
from ganzoo.training.device import resolve_device

PATIENCE = timedelta(minutes=60)
"""For a process that does not answer: more than the longest evaluation, during which all others wait for the first."""


class LostContact(RunError):
    """Another process of the training ended, or does not answer."""


@dataclass(frozen=True)
class Team:
    """The processes that train one run together. Methods are called by all of them, at the same point.

    Attributes:
        rank: This one's number, from 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def leads(self) -> bool:
        """Whether this process writes, draws and scores."""
        return self.rank == 0

    def device(self, name: str) -> torch.device:
        """Where this process trains: of several GPUs each takes its own.

        Raises:
            GanzooError: The device is not there, or all processes would share one GPU.
        """
        device = resolve_device(name)
        if self.size == 1 or device.type != "cuda":
            return device
        local = int(os.environ["LOCAL_RANK"])
        if device.index is not None or local >= torch.cuda.device_count():
            raise GanzooError(
                f"Process {local} of this machine would have no GPU of its own.",
                "Use train.device=cuda, and as many processes a machine as it has GPUs.",
            )
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def share(self, batch_size: int) -> slice:
        """The rows of a batch that this process sees: all rows are seen once, each by one process.

        Raises:
            GanzooError: The batch cannot be divided equally.
        """
        rows, left = divmod(batch_size, self.size)
        if left or not rows:
            raise GanzooError(
                f"A batch of {batch_size} images cannot be shared equally by {self.size} processes.",
                f"train.batch_size is that of all processes together: make it a multiple of {self.size}.",
            )
        return slice(self.rank * rows, (self.rank + 1) * rows)

    @torch.no_grad()
    def average(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point tensors by their means over all processes, in one exchange."""
        if self.size > 1 and tensors:
            flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
            with in_contact():
                dist.all_reduce(flat)
            _scatter(flat.div_(self.size), tensors)

    @torch.no_grad()
    def adopt(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors by those of the process that leads, in one exchange for each type."""
        for dtype in dict.fromkeys(tensor.dtype for tensor in tensors) if self.size > 1 else ():
            alike = [tensor for tensor in tensors if tensor.dtype == dtype]
            flat = torch.cat([tensor.reshape(-1) for tensor in alike])
            with in_contact():
                dist.broadcast(flat, 0)
            _scatter(flat, alike)

    def highest(self, numbers: Sequence[float]) -> list[float]:
        """The largest of all processes' numbers, place by place; does not wait for a GPU."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        with in_contact():
            dist.all_reduce(values, dist.ReduceOp.MAX)
        return values.tolist()

    def any(self, flag: bool) -> bool:
        """Whether any process says so."""
        return bool(self.highest([float(flag)])[0])

    def gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor on the CPU, of one shape in all, by rank."""
        if self.size == 1:
            return [tensor]
        found = [torch.empty_like(tensor) for _ in range(self.size)]
        with in_contact():
            dist.all_gather(found, tensor)
        return found

    def add_up(self, tensor: Tensor) -> None:
        """Replace a tensor on the CPU by the sum over all processes."""
        if self.size > 1:
            with in_contact():
                dist.all_reduce(tensor)

    def hand_out(self, content: bytes = b"") -> bytes:
        """The leader's bytes, for everyone."""
        if self.size == 1:
            return content
        length = int(self.highest([len(content) if self.leads else 0])[0])
        buffer = torch.frombuffer(bytearray(content), dtype=torch.uint8) if self.leads and content else None
        buffer = torch.empty(length, dtype=torch.uint8) if buffer is None else buffer
        with in_contact():
            dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()


ALONE = Team()


@contextmanager
def joined() -> Iterator[Team]:
    """The processes that torchrun started, or this one alone, until the block ends."""
    # Some builds of torch have nothing of the kind.
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    # Its functions have the group as a default from the moment they are defined. Where one exists by then they keep it,
    # and with it threads that abort the process if they outlive the interpreter.
    import torch.distributed.nn.functional

    # gloo beside nccl: small agreements on the host need not wait for the GPU.
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    with in_contact():
        dist.init_process_group(backend, timeout=PATIENCE)
    yield Team(dist.get_rank(), dist.get_world_size())
    # Not after an error: the others may be gone, and leaving in order would wait for them.
    dist.destroy_process_group()


@contextmanager
def in_contact() -> Iterator[None]:
    """Say in words what torch says in its own where another process is gone.

    Raises:
        LostContact: It is.
    """
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error):
            raise
        raise LostContact(
            "Another process of this training ended, or does not answer.",
            "If it did not say why, see whether its machine still runs; then go on with --resume.",
        ) from error


def _scatter(flat: Tensor, tensors: Sequence[Tensor]) -> None:
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))
