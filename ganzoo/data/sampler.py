"""Real batches without a DataLoader: from a dataset that lies on the training device, or that is streamed to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from ganzoo.data.order import Order
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from ganzoo.data.dataset import ImageDataset

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
    from ganzoo.data.streaming import StreamedSampler

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
