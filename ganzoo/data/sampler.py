"""Real batches without a DataLoader: the whole dataset lies on the training device."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ganzoo.data.dataset import ImageDataset


class ResidentSampler:
    """Batches in random order from images that lie on the device: pictures as uint8, points as they are.

    Each epoch shows each image exactly once; a batch may reach over the border into the next epoch, so that
    all batches have one size. The order is drawn on the device, and only the cursor is kept on the host, so
    that neither waits for the other.

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
        if not 1 <= batch_size <= len(dataset):
            raise GanzooError(
                f"A batch of {batch_size} images cannot be drawn from the {len(dataset)} of dataset "
                f"'{dataset.name}' ({dataset.split}).",
                f"Set train.batch_size to a number between 1 and {len(dataset)}.",
            )
        self.batch_size = batch_size
        self._quantised = dataset.quantised
        self._images = dataset.images.to(device).contiguous()
        labels = torch.zeros(len(dataset), dtype=torch.int64) if dataset.labels is None else dataset.labels
        self._labels = labels.to(device)
        self._generator = torch.Generator(device).manual_seed(seed)
        self._order = torch.empty(len(dataset), dtype=torch.int64, device=device)
        self._cursor = 0
        self._shuffle()

    def _shuffle(self) -> None:
        torch.randperm(len(self._order), generator=self._generator, out=self._order)

    def _choose(self) -> Tensor:
        """The places of the next batch, int64 (batch_size,)."""
        end = self._cursor + self.batch_size
        if end <= len(self._order):
            chosen = self._order[self._cursor : end]
            self._cursor = end
            return chosen
        # Copied, because the new order is drawn into the memory of the old one.
        rest = self._order[self._cursor :].clone()
        self._shuffle()
        self._cursor = self.batch_size - len(rest)
        return torch.cat([rest, self._order[: self._cursor]])

    def next(self) -> tuple[Tensor, Tensor]:
        """The next batch, in new memory on the device.

        Returns:
            Real images (batch_size, c, h, w), float32 in [-1, 1], and their labels (batch_size,), int64,
            zeros where the dataset has none.
        """
        chosen = self._choose()
        real = self._images.index_select(0, chosen)
        if self._quantised:
            # 255 / 127.5 is exactly 2, so white is exactly 1.
            real = real.to(torch.float32).div_(127.5).sub_(1)
        return real, self._labels.index_select(0, chosen)

    def state_dict(self) -> dict[str, Tensor | int]:
        """Everything that the next batches depend on, apart from the dataset: tensors and integers."""
        return {
            "order": self._order.clone(),
            "generator": self._generator.get_state(),
            "cursor": self._cursor,
        }

    def load_state_dict(self, state: Mapping[str, Tensor | int]) -> None:
        """Go on with the batches that would have come next when ``state`` was taken.

        Raises:
            GanzooError: The state is of a dataset of another size.
        """
        order = torch.as_tensor(state["order"])
        if order.shape != self._order.shape:
            raise GanzooError(
                f"The saved order is of {len(order)} images, and the dataset has {len(self._order)}.",
                "Resume with the dataset that the run began with.",
            )
        if order.sort().values.ne(torch.arange(len(order), device=order.device)).any():
            raise GanzooError("The saved order of the images is none: it must name each once.")
        self._order.copy_(order)
        self._generator.set_state(torch.as_tensor(state["generator"], device="cpu"))
        self._cursor = min(max(0, int(state["cursor"])), len(order))
