"""Real batches without a DataLoader: from a dataset on the training device, or streamed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.api.dataset import ImageDataset


class Order:
    """Places of images, batch after batch.

    Each epoch names each place exactly once; a batch may reach over the border into the next epoch, so that all batches
    have one size. The order is drawn on the device, and only the cursor is kept on the host, so that neither waits for
    the other.

    Args:
        count: Number of images.
        batch_size: Images in a batch.
        seed: On one kind of device the same seed gives the same order.
        device: Where places are wanted.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, device: torch.device | str) -> None:
        self._count = count
        self._batch_size = batch_size
        self._device = device
        self._generator = torch.Generator(device).manual_seed(seed)
        self._cursor = 0
        self._order = self._drawn()

    def _drawn(self) -> Tensor:
        return torch.randperm(self._count, generator=self._generator, device=self._device)

    def next(self) -> Tensor:
        """The places of the next batch, int64 (batch_size,)."""
        end = self._cursor + self._batch_size
        if end <= self._count:
            chosen = self._order[self._cursor : end]
            self._cursor = end
            return chosen
        rest = self._order[self._cursor :]
        # New memory: a state that was taken before still holds the old order.
        self._order = self._drawn()
        self._cursor = self._batch_size - len(rest)
        return torch.cat([rest, self._order[: self._cursor]])

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything that the next places depend on: tensors that nobody changes later, and integers."""
        return {"order": self._order, "generator": self._generator.get_state(), "cursor": self._cursor}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on with the places that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state is of a dataset of another size.
        """
        order = torch.as_tensor(state["order"])
        if order.shape != self._order.shape:
            raise GanzooError(
                f"The saved order is of {len(order)} images, and the dataset has {self._count}.",
                "Resume with the dataset that the run began with.",
            )
        if order.sort().values.ne(torch.arange(len(order), device=order.device)).any():
            raise GanzooError("The saved order of the images is none: it must name each once.")
        self._order = order.to(self._order)
        self._generator.set_state(torch.as_tensor(state["generator"], device="cpu"))
        self._cursor = min(max(0, int(state["cursor"])), len(order))


SHARE = 0.5
"""Of a GPU's free memory that a dataset may take; networks and their feature maps need the rest."""
State = dict[str, "Tensor | int"]


class Sampler(Protocol):
    """Gives batches in random order, each epoch each image exactly once."""

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch, in new memory on the device.

        Returns:
            Real images (batch_size, c, h, w), float32 in [-1, 1], and their labels (batch_size,), int64,
            zeros where the dataset has none.
        """
        ...

    def state_dict(self) -> State:
        """Everything that the next batches depend on, apart from the dataset: tensors and integers."""
        ...

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on with the batches that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state is of a dataset of another size.
        """
        ...


def build_sampler(
    dataset: ImageDataset, batch_size: int, *, seed: int, device: torch.device, say: Callable[[str], None]
) -> Sampler:
    """A dataset's sampler: resident on the device, or streamed where a GPU has no room for the dataset.

    Args:
        dataset: Images and labels, in the host's memory.
        batch_size: Images in a batch.
        seed: Of the order; on one kind of device the same seed gives the same batches.
        device: Where batches are wanted.
        say: Told where the dataset is streamed.

    Raises:
        GanzooError: The dataset has fewer images than a batch.
    """
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is None or dataset.images.nbytes <= SHARE * free:
        return ResidentSampler(dataset, batch_size, seed=seed, device=device)
    # Here, because most trainings never stream.

    say(f"The images of dataset '{dataset.name}' are streamed: {dataset.images.nbytes / 2**30:.1f} GiB are too much.")
    return StreamedSampler(dataset, batch_size, seed=seed, device=device)


class ResidentSampler:
    """Batches from images that lie on the device: pictures as uint8, points as they are.

    Args:
        dataset: Images and labels.
        batch_size: Images in a batch.
        seed: Of the order; on one kind of device the same seed gives the same batches.
        device: Where images, labels and order lie.

    Raises:
        GanzooError: The dataset has fewer images than a batch.
    """

    def __init__(
        self,
        dataset: ImageDataset,
        batch_size: int,
        *,
        seed: int,
        device: torch.device | str,
    ) -> None:
        refuse_small(dataset, batch_size)
        self._quantised = dataset.quantised
        self._images = dataset.images.to(device).contiguous()
        self._labels = labels_of(dataset).to(device)
        self._order = Order(len(dataset), batch_size, seed=seed, device=device)

    def next(self) -> tuple[Tensor, Tensor]:
        """See ``Sampler``; does not wait for the device."""
        chosen = self._order.next()
        return scaled(self._images.index_select(0, chosen), self._quantised), self._labels.index_select(0, chosen)

    def state_dict(self) -> State:
        """See ``Sampler``."""
        return self._order.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)


def refuse_small(dataset: ImageDataset, batch_size: int) -> None:
    """See that a batch can be drawn.

    Raises:
        GanzooError: The dataset has fewer images than a batch.
    """
    if not 1 <= batch_size <= len(dataset):
        raise GanzooError(
            f"A batch of {batch_size} images cannot be drawn from the {len(dataset)} of dataset "
            f"'{dataset.name}' ({dataset.split}).",
            f"Set train.batch_size to a number between 1 and {len(dataset)}.",
        )


def labels_of(dataset: ImageDataset) -> Tensor:
    """A dataset's labels (n,), int64, zeros where it has none."""
    return torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels


def scaled(images: Tensor, quantised: bool) -> Tensor:
    """Pictures, uint8, as float32 in [-1, 1], on their device; points as they are."""
    # 255 / 127.5 is exactly 2, so white is exactly 1.
    return images.to(torch.float32).div_(127.5).sub_(1) if quantised else images


SLOTS = 2
"""One is gathered into while the other is copied to the device."""


class _Slot:
    """Room for one batch on the host, in memory that a GPU copies from by itself, and when that has been done."""

    def __init__(self, images: Tensor, labels: Tensor, batch_size: int, device: torch.device) -> None:
        gpu = device.type == "cuda"
        self.images = torch.empty(batch_size, *images.shape[1:], dtype=images.dtype, pin_memory=gpu)
        self.labels = torch.empty(batch_size, dtype=labels.dtype, pin_memory=gpu)
        self.copied = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]


class StreamedSampler:
    """A ``Sampler`` with one batch in hand. Order and batches are those of a ``ResidentSampler`` on the CPU.

    Args:
        dataset: Images and labels.
        batch_size: Images in a batch.
        seed: Of the order.
        device: Where batches are wanted.

    Raises:
        GanzooError: The dataset has fewer images than a batch.
    """

    def __init__(self, dataset: ImageDataset, batch_size: int, *, seed: int, device: torch.device | str) -> None:
        refuse_small(dataset, batch_size)
        self._quantised = dataset.quantised
        self._images, self._labels = dataset.images.contiguous(), labels_of(dataset)
        self._device = torch.device(device)
        self._order = Order(len(dataset), batch_size, seed=seed, device="cpu")
        self._slots = [_Slot(self._images, self._labels, batch_size, self._device) for _ in range(SLOTS)]
        self._worker = ThreadPoolExecutor(1, "ganzoo-stream")
        self._begin()

    def _begin(self) -> None:
        """Choose the next batch, and have it gathered."""
        self._state = self._order.state_dict()
        self._slots.append(self._slots.pop(0))
        self._in_hand = self._worker.submit(self._gather, self._slots[-1], self._order.next())

    def _gather(self, slot: _Slot, chosen: Tensor) -> _Slot:
        if slot.copied is not None:
            slot.copied.synchronize()
        torch.index_select(self._images, 0, chosen, out=slot.images)
        torch.index_select(self._labels, 0, chosen, out=slot.labels)
        return slot

    def next(self) -> tuple[Tensor, Tensor]:
        """See ``Sampler``; waits for the host, and not for the device."""
        slot = self._in_hand.result()
        images = slot.images.to(self._device, non_blocking=True, copy=True)
        labels = slot.labels.to(self._device, non_blocking=True, copy=True)
        if slot.copied is not None:
            slot.copied.record(torch.cuda.current_stream(self._device))
        self._begin()
        return scaled(images, self._quantised), labels

    def state_dict(self) -> State:
        """See ``Sampler``: that of the moment before the batch in hand was chosen."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)
        self._in_hand.result()
        self._begin()
