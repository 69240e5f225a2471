"""Real batches without a DataLoader: from a dataset on the training device, or streamed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.api.dataset import Dataset

SHARE = 0.5
"""Of a GPU's free memory that a dataset may take; networks and their feature maps need the rest."""
SLOTS = 2
"""Of a streamed dataset: one is gathered into while the other is copied to the device."""

ALL = slice(None)
"""Every row of a batch; where several processes train, each wants its own."""

State = dict[str, "Tensor | int"]
Columns = dict[str, Tensor]
"""A batch by name: ``image`` float32 in [-1, 1], ``label`` int64, and whatever else the dataset has."""


class Sampler(Protocol):
    """Gives batches in random order, each epoch each row exactly once."""

    def next(self) -> Columns:
        """The next batch, in new memory on the device.

        Returns:
            ``image`` (batch_size, *shape), float32 in [-1, 1]; ``label`` (batch_size,), int64, zeros where the dataset
            has none; and the dataset's further columns as they are.
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
    dataset: Dataset,
    batch_size: int,
    *,
    seed: int,
    device: torch.device,
    log: Callable[[str], None],
    rows: slice = ALL,
) -> Sampler:
    """A dataset's sampler: resident on the device, or streamed where a GPU has no room for the dataset.

    Args:
        dataset: Its rows, in the host's memory.
        batch_size: Rows in a batch.
        seed: Of the order; the same seed gives the same batches on every device.
        device: Where batches are wanted.
        log: Called with a sentence where the dataset is streamed.
        rows: Which rows of each batch are wanted; the others are not gathered.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """
    size = dataset.images.nbytes + sum(column.nbytes for column in dataset.columns.values())
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None
    if free is None or size <= SHARE * free:
        return ResidentSampler(dataset, batch_size, seed=seed, device=device, rows=rows)
    log(f"Streaming dataset '{dataset.name}': its {size / 2**30:.1f} GiB do not fit on the GPU.")
    return StreamedSampler(dataset, batch_size, seed=seed, device=device, rows=rows)


class Order:
    """The random order in which a dataset's rows are shown, batch after batch.

    Each epoch names each row exactly once; a batch may reach over the border into the next epoch, so that all batches
    have one size. The order is drawn on the CPU, whatever the device: so it is the same everywhere, and a run can be
    resumed where its dataset is streamed after it was resident, or on another kind of device. The device gets a copy
    once an epoch, and neither waits for the other.

    Args:
        count: Number of rows.
        batch_size: Rows in a batch.
        seed: The same seed gives the same order.
        device: Where indices are wanted.
    """

    def __init__(self, count: int, batch_size: int, *, seed: int, device: torch.device | str) -> None:
        self._count = count
        self._batch_size = batch_size
        self._device = torch.device(device)
        self._generator = torch.Generator().manual_seed(seed)
        self._cursor = 0
        self._use(self._shuffled())

    def _shuffled(self) -> Tensor:
        return torch.randperm(self._count, generator=self._generator)

    def _use(self, order: Tensor) -> None:
        """Go through an order on the CPU. New memory each time: a state that was taken before holds the old one."""
        self._order = order
        pinned = order.pin_memory() if self._device.type == "cuda" else order
        self._on_device = pinned.to(self._device, non_blocking=True)

    def next(self) -> Tensor:
        """The indices of the next batch, int64 (batch_size,), on the device."""
        end = self._cursor + self._batch_size
        if end <= self._count:
            chosen = self._on_device[self._cursor : end]
            self._cursor = end
            return chosen
        rest = self._on_device[self._cursor :]
        self._use(self._shuffled())
        self._cursor = self._batch_size - len(rest)
        return torch.cat([rest, self._on_device[: self._cursor]])

    def state_dict(self) -> State:
        """Everything that the next indices depend on: tensors that nobody changes later, and integers."""
        return {"order": self._order, "generator": self._generator.get_state(), "cursor": self._cursor}

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on with the indices that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state is of a dataset of another size.
        """
        order = torch.as_tensor(state["order"], device="cpu")
        if order.shape != self._order.shape:
            raise GanzooError(
                f"The saved order is of {len(order)} images, and the dataset has {self._count}.",
                "Resume with the dataset that the run began with.",
            )
        if order.sort().values.ne(torch.arange(len(order))).any():
            raise GanzooError("The saved order is damaged: it does not name each image once.")
        self._use(order.to(torch.int64))
        self._generator.set_state(torch.as_tensor(state["generator"], device="cpu"))
        self._cursor = min(max(0, int(state["cursor"])), len(order))


class ResidentSampler:
    """Batches from a dataset on the device, where samples stay in their stored form until they are drawn.

    Args:
        dataset: Its rows.
        batch_size: Rows in a batch.
        seed: Of the order; the same seed gives the same batches on every device.
        device: Where rows are.
        rows: Which rows of each batch are gathered.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int, device: torch.device | str, rows: slice = ALL
    ) -> None:
        self._modality = dataset.modality
        self._rows = rows
        self._columns = {name: column.to(device) for name, column in _columns(dataset, batch_size).items()}
        self._order = Order(len(dataset), batch_size, seed=seed, device=device)

    def next(self) -> Columns:
        """See ``Sampler``; does not wait for the device."""
        chosen = self._order.next()[self._rows]
        batch = {name: column.index_select(0, chosen) for name, column in self._columns.items()}
        return batch | {"image": self._modality.to_network(batch["image"])}

    def state_dict(self) -> State:
        """See ``Sampler``."""
        return self._order.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)


class _Slot:
    """Room for one batch on the host, in memory that a GPU copies from by itself, and when that has been done."""

    def __init__(self, columns: Columns, batch_size: int, device: torch.device) -> None:
        gpu = device.type == "cuda"
        self.columns = {
            name: torch.empty(batch_size, *column.shape[1:], dtype=column.dtype, pin_memory=gpu)
            for name, column in columns.items()
        }
        self.copied = torch.cuda.Event() if gpu else None  # type: ignore[no-untyped-call]


class StreamedSampler:
    """Batches of a dataset that stays in the host's memory, each gathered while the device trains on the one before.

    Order and batches are those of a ``ResidentSampler``, and each goes on from the other's state.

    Args:
        dataset: Its rows.
        batch_size: Rows in a batch.
        seed: Of the order.
        device: Where batches are wanted.
        rows: Which rows of each batch are gathered.

    Raises:
        GanzooError: The dataset has fewer rows than a batch.
    """

    def __init__(
        self, dataset: Dataset, batch_size: int, *, seed: int, device: torch.device | str, rows: slice = ALL
    ) -> None:
        self._modality = dataset.modality
        self._rows = rows
        self._columns = _columns(dataset, batch_size)
        self._device = torch.device(device)
        self._order = Order(len(dataset), batch_size, seed=seed, device="cpu")
        wanted = len(range(*rows.indices(batch_size)))
        self._slots = [_Slot(self._columns, wanted, self._device) for _ in range(SLOTS)]
        self._worker = ThreadPoolExecutor(1, "ganzoo-stream")
        self._prefetch()

    def _prefetch(self) -> None:
        """Choose the next batch, and have it gathered."""
        self._state = self._order.state_dict()
        self._slots.append(self._slots.pop(0))
        self._next = self._worker.submit(self._gather, self._slots[-1], self._order.next()[self._rows])

    def _gather(self, slot: _Slot, chosen: Tensor) -> _Slot:
        if slot.copied is not None:
            slot.copied.synchronize()
        for name, column in self._columns.items():
            torch.index_select(column, 0, chosen, out=slot.columns[name])
        return slot

    def next(self) -> Columns:
        """See ``Sampler``; waits for the host, and not for the device."""
        slot = self._next.result()
        batch = {name: column.to(self._device, non_blocking=True, copy=True) for name, column in slot.columns.items()}
        if slot.copied is not None:
            slot.copied.record(torch.cuda.current_stream(self._device))
        self._prefetch()
        return batch | {"image": self._modality.to_network(batch["image"])}

    def state_dict(self) -> State:
        """See ``Sampler``: that of the moment before the prefetched batch was chosen."""
        return dict(self._state)

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """See ``Sampler``."""
        self._order.load_state_dict(state)
        self._next.result()
        self._prefetch()


def _columns(dataset: Dataset, batch_size: int) -> Columns:
    """All columns of a dataset, labels being zeros where it has none.

    Raises:
        GanzooError: It has fewer rows than a batch.
    """
    if not 1 <= batch_size <= len(dataset):
        raise GanzooError(
            f"batch_size {batch_size} exceeds the {len(dataset)} {dataset.split} images of dataset '{dataset.name}'.",
            f"Set train.batch_size to a number between 1 and {len(dataset)}.",
        )
    labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
    further = {name: column.contiguous() for name, column in dataset.columns.items()}
    return {"image": dataset.images.contiguous(), "label": labels, **further}
