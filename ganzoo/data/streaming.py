"""Batches of a dataset that stays in the host's memory, gathered while the device trains on the batch before."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.data.order import Order
from ganzoo.data.sampler import State, labels_of, refuse_small, scaled

if TYPE_CHECKING:
    from ganzoo.data.dataset import ImageDataset

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
