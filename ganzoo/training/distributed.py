"""Training one run in several processes (torchrun): each sees its own rows of a batch, and only rank 0 writes files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ganzoo.config.schema import TrainConfig
from ganzoo.errors import GanzooError, RunError
from ganzoo.reproducibility import below, derive_seed, global_state, resolve_device, restore_global_state
from ganzoo.training.device import fix_workspace

TIMEOUT = timedelta(minutes=60)  # longer than any evaluation, whose metrics only the main process computes


class ProcessLost(RunError):
    """Another process of the run ended, or does not respond."""


@dataclass(frozen=True)
class Processes:
    """The processes that train one run together. All of them must call the methods at the same points."""

    rank: int = 0  # this process's number
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes."""
        return self.rank == 0

    def device(self, config: TrainConfig) -> torch.device:
        """Where this process trains: with several on a machine, on the GPU of its ``LOCAL_RANK``."""
        name = config.device
        kind, _, index = name.partition(":")
        if config.deterministic and kind in ("auto", "cuda"):
            fix_workspace()  # before CUDA starts
        if self.size == 1 or kind not in ("auto", "cuda") or not torch.cuda.is_available():
            return resolve_device(name)
        if index:
            raise GanzooError(
                f"All {self.size} processes would train on {name}.",
                "Use train.device=cuda, so that each process takes its own GPU.",
            )
        local, gpus = int(os.environ["LOCAL_RANK"]), torch.cuda.device_count()
        if local >= gpus:
            raise GanzooError(
                f"This machine has {gpus} GPU{'' if gpus == 1 else 's'}, so none is left for its process {local + 1}.",
                f"Start at most {gpus} on it (torchrun --nproc-per-node {gpus}), or train with --device cpu.",
            )
        # Before anything else touches CUDA, which would create a context on the first GPU for every process.
        torch.cuda.set_device(local)
        return torch.device("cuda", local)

    def rows(self, batch_size: int) -> slice:
        """The rows of a batch that this process sees: an equal share of them."""
        rows, left = divmod(batch_size, self.size)
        if left or not rows:
            raise GanzooError(
                f"batch_size {batch_size} cannot be divided equally among {self.size} processes.",
                f"train.batch_size is the total of all processes: make it a multiple of {self.size}.",
            )
        return slice(self.rank * rows, (self.rank + 1) * rows)

    @torch.no_grad()
    def all_reduce_mean(self, tensors: Sequence[Tensor]) -> None:
        """Replace floating-point tensors by their means over all processes, in one exchange."""
        if self.size > 1 and any(tensor.numel() for tensor in tensors):
            # As their memory has them, since copies in another order are slow.
            views = [
                t.permute(0, 2, 3, 1) if t.is_contiguous(memory_format=torch.channels_last) else t for t in tensors
            ]
            flat = torch.cat([view.reshape(-1) for view in views])
            dist.all_reduce(flat)
            for view, total in zip(views, torch.split(flat, [view.numel() for view in views]), strict=True):
                torch.div(total.view_as(view), self.size, out=view)

    def all_reduce_sum(self, tensor: Tensor) -> None:
        """Replace a tensor on the CPU by the sum over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor)

    def all_reduce_max(self, numbers: Sequence[float]) -> list[float]:
        """The largest of all processes' numbers, position by position; does not wait for a GPU."""
        if self.size == 1:
            return list(numbers)
        values = torch.tensor(numbers, dtype=torch.float64)
        dist.all_reduce(values, dist.ReduceOp.MAX)
        return values.tolist()

    def any(self, flag: bool) -> bool:
        """Whether the flag is true in any process."""
        return bool(self.all_reduce_max([float(flag)])[0])

    def all_gather(self, tensor: Tensor) -> list[Tensor]:
        """Every process's tensor, on the CPU and of the same shape in all, by rank."""
        if self.size == 1:
            return [tensor]
        gathered = [torch.empty_like(tensor) for _ in range(self.size)]
        dist.all_gather(gathered, tensor)
        return gathered

    @torch.no_grad()
    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Replace tensors by those of the main process."""
        for tensor in tensors if self.size > 1 else ():
            sent = tensor.contiguous()
            dist.broadcast(sent, 0)
            tensor.copy_(sent)

    def broadcast_bytes(self, content: bytes = b"") -> bytes:
        """The main process's bytes. Only JSON, YAML and safetensors are sent, so nothing is unpickled."""
        length = int(self.all_reduce_max([len(content)])[0])
        if self.size == 1 or length == 0:
            return content
        buffer = torch.frombuffer(bytearray(content.ljust(length)), dtype=torch.uint8)
        dist.broadcast(buffer, 0)
        return buffer.numpy().tobytes()


ALONE = Processes()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that torchrun started, or only this one, until the block ends."""
    # Some builds of torch lack torch.distributed.
    if not dist.is_available() or not dist.is_torchelastic_launched() or int(os.environ["WORLD_SIZE"]) == 1:
        yield ALONE
        return
    # Imported before the group exists: imported later, its functions would keep the group as a default argument, and
    # with it the group's threads, which abort the process if they outlive the interpreter.
    import torch.distributed.nn.functional

    # gloo in addition to nccl, so that small exchanges on the host need not wait for the GPU.
    with in_contact():
        dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    yield Processes(dist.get_rank(), dist.get_world_size())
    # Not after an error: the others may be gone, and an orderly shutdown would wait for them.
    dist.destroy_process_group()


@contextmanager
def in_contact() -> Iterator[None]:
    """Convert torch's errors about a lost process into ``ProcessLost``."""
    try:
        yield
    except RuntimeError as error:
        # gloo's own checks, such as of sizes, fail with "enforce fail": that is not lost contact.
        if not isinstance(error, dist.DistError) and ("gloo" not in str(error) or "enforce fail" in str(error)):
            raise
        raise ProcessLost(
            "Another process of this run ended, or does not respond.",
            "If it reported no error, check that its machine is still running; then resume with --resume.",
        ) from error


class Replicas:
    """Keeps networks and objective equal in all processes, starting from the main process's values.

    Gradients are averaged and, in the same exchange, all floating-point buffers of checkpoints (running averages, an
    augmentation's strength). If phases share fakes, only the last phase's ``after`` sees averaged buffers.
    """

    def __init__(self, processes: Processes, modules: Sequence[nn.Module]) -> None:
        self._processes = processes
        self._averaged = []
        for module in modules:
            saved = module.state_dict()  # without buffers that are constants
            processes.broadcast(tensor for tensor in saved.values() if tensor.numel())
            self._averaged += [b for name, b in module.named_buffers() if name in saved and b.is_floating_point()]

    def average_gradients(self, trained: Sequence[nn.Parameter], *, buffers: bool = True) -> None:
        """Average these gradients in one exchange, together with all buffers if no backward pass still needs them."""
        if self._processes.size > 1:
            gradients = [p.grad for p in trained if p.grad is not None]
            self._processes.all_reduce_mean([*gradients, *(self._averaged if buffers else ())])


def random_states(processes: Processes, device: torch.device) -> dict[str, Tensor]:
    """Every process's random state, for a checkpoint: the main one's as in a single-process run, others' by rank."""
    states: dict[str, Tensor] = {}
    for name, own in global_state(device).items():
        main, *others = processes.all_gather(own)
        states[f"random.{name}"] = main
        states |= {f"ranks.{rank}.random.{name}": one for rank, one in enumerate(others, 1)}
    return states


def restore_random(tensors: Mapping[str, Tensor], processes: Processes, device: torch.device, otherwise: int) -> None:
    """Restore what ``random_states`` returned; a process or GPU without a state is seeded by ``otherwise``."""
    states = below("random" if processes.is_main else f"ranks.{processes.rank}.random", tensors)
    if states or processes.is_main:
        restore_global_state(states, device, training_seed(otherwise, processes))
    else:
        torch.manual_seed(training_seed(otherwise, processes))


def training_seed(seed: int, processes: Processes) -> int:
    """The seed of torch's default generators in this process: losses and networks draw different numbers in each."""
    return derive_seed(seed, "training" if processes.is_main else f"training/{processes.rank}")


class SyncedBatchNorm(_BatchNorm):
    """Batch normalisation over the images of all processes. While ``exchanging``, all call it in the same order.

    torch's own ``SyncBatchNorm`` works only on GPUs, and forbids a second derivative.
    """

    exchanging: ClassVar[bool] = False  # whether the processes take a step together

    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, channels, ...), n images in this process."""
        if not (SyncedBatchNorm.exchanging and self.training):
            return super().forward(input)
        over, x = [0, *range(2, input.dim())], input.float()
        mean = _mean_of_all(x.mean(over))
        shape = [1, -1, *[1] * (input.dim() - 2)]
        centred = x - mean.view(shape)
        variance = _mean_of_all(centred.square().mean(over))
        if self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None:
            n = x.numel() // x.shape[1] * dist.get_world_size()
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                share = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean, share)
                self.running_var.lerp_(variance * n / max(1, n - 1), share)
        out = centred * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Accept any input that the replaced layer accepted."""


class _Sum(torch.autograd.Function):
    """The sum over all processes. Its gradient is summed too, since each process's output depends on every input."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        return _Sum.apply(gradient.contiguous())  # type: ignore[no-any-return, no-untyped-call]


def _mean_of_all(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x.contiguous())  # type: ignore[no-untyped-call]
    return total / dist.get_world_size()


def sync_batch_norm(networks: nn.Module) -> None:
    """Make torch's batch normalisations a ``SyncedBatchNorm``, with the same state, but not subclasses of them."""
    for module in networks.modules():
        if type(module) in (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d):
            module.__class__ = SyncedBatchNorm
