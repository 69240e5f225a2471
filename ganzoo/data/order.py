"""The random order in which a dataset's images are shown."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ganzoo.errors import GanzooError


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
