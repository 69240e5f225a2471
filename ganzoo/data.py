"""From datasets to batches: the parts of registered datasets, images that are given in Python, and random batches.

Images for validation are taken from the training images: seeded, stratified, the same ones wherever they are asked for.
Batches need no DataLoader: they come from a dataset on the training device, or are streamed to it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from ganzoo.api.dataset import Dataset, Part
from ganzoo.errors import GanzooError

if TYPE_CHECKING:
    from torch.utils.data import Dataset as TorchDataset

    from ganzoo.registry.registry import Entry

    Data = Dataset | Tensor | tuple[Tensor, Tensor] | TorchDataset[Any]

SEED = 0
VALIDATION = 10_000
"""How many images are set apart where nobody says how many: as many as MNIST's test images."""


def load_part(
    entry: Entry[Dataset],
    options: Mapping[str, Any],
    data_dir: Path | None,
    part: Part,
    validation: int = 0,
    count: int = 0,
) -> Dataset:
    """A part of a registered dataset.

    Args:
        entry: The dataset.
        options: Its options, checked.
        data_dir: Where the user keeps dataset files.
        part: Which one; ``train`` is without the images of ``validation``.
        validation: How many training images are set apart.
        count: How many of the others are trained on; 0 is all.

    Raises:
        GanzooError: It cannot be loaded, or no images are set apart for validation.
    """
    if part == "test":
        return entry.create("test", data_dir, **options)
    train = entry.create("train", data_dir, **options)
    return part_of(train, part, validation, count)


def part_of(train: Dataset, part: Part, validation: int, count: int = 0) -> Dataset:
    """The images to train on, or those set apart for validation, in the order of the training images.

    Raises:
        GanzooError: None are set apart for validation, none would be left to train on, or fewer than ``count``.
    """
    if part == "validation" and not validation:
        raise GanzooError(
            "No images were set apart for validation.",
            "Train with --set dataset.validation=10000, or score against --split test.",
        )
    if not validation:
        return _first(train, count)
    if validation >= len(train):
        raise GanzooError(
            f"dataset.validation is {validation:,}, and '{train.name}' has {len(train):,} training images.",
            "Set fewer apart: some have to be left to train on.",
        )
    held_out = _held_out(train.labels, len(train), validation)
    if part == "validation":
        return replace(train.rows(held_out.nonzero().flatten()), split="validation")
    return _first(train.rows((~held_out).nonzero().flatten()), count)


def _first(train: Dataset, count: int) -> Dataset:
    """The first images of a seeded order, in the order of the training images: a smaller count is part of a larger."""
    if not count:
        return train
    if count > len(train):
        raise GanzooError(
            f"dataset.count is {count:,}, and '{train.name}' has {len(train):,} images to train on.",
            "Set it lower, or leave it out to train on all.",
        )
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(SEED))
    return train.rows(order[:count].sort().values)


def _held_out(labels: Tensor | None, total: int, n: int) -> Tensor:
    """Which of the training images are for validation, (total,) bool.

    Each class gives its share, by the largest remainder (the lower class first where two are equal), so that they add
    up to ``n``: the first images of a permutation, drawn class by class from one generator. Without labels, all images
    are one class.
    """
    labels = torch.zeros(total, dtype=torch.int64) if labels is None else labels
    classes, sizes = torch.unique(labels, return_counts=True)
    parts = sizes * n // total
    rest = (sizes * n % total).argsort(descending=True, stable=True)
    parts[rest[: n - int(parts.sum())]] += 1
    generator = torch.Generator().manual_seed(SEED)
    chosen = torch.zeros(total, dtype=torch.bool)
    for label, part in zip(classes, parts.tolist(), strict=True):
        members = (labels == label).nonzero().flatten()
        chosen[members[torch.randperm(len(members), generator=generator)[:part]]] = True
    return chosen


IN_MEMORY = "in-memory"
"""The registered name of datasets that were given in Python."""


def as_dataset(data: Any) -> Dataset:
    """A dataset in memory.

    Args:
        data: A dataset of ours; a tensor of images (n, c, h, w), or a pair of it and labels (n,); or a dataset of
            torch's that has a length, which is read once, whole: its items are images, or begin with an image and its
            class. An image is uint8 (c, h, w), (h, w) or of PIL, or float in [0, 1] as
            ``torchvision.transforms.ToTensor`` makes it from one.

    Raises:
        GanzooError: It is something else, its images differ in size, or its labels are no classes.
    """
    if isinstance(data, Dataset):
        return data
    if isinstance(data, Tensor):
        return Dataset(IN_MEMORY, "train", _levels(data))
    if isinstance(data, tuple) and len(data) == 2 and all(isinstance(part, Tensor) for part in data):
        images, labels = data
        if labels.dtype.is_floating_point or labels.dtype.is_complex or labels.dtype == torch.bool:
            raise GanzooError(
                f"The labels are of type {str(labels.dtype).removeprefix('torch.')}.",
                "Labels are whole numbers, one for each image.",
            )
        numbers = range(int(labels.max()) + 1 if len(labels) else 0)
        return Dataset(IN_MEMORY, "train", _levels(images), labels.long(), tuple(map(str, numbers)))
    if not (hasattr(data, "__len__") and hasattr(data, "__getitem__")) or len(data) == 0:
        raise GanzooError(
            f"Not a dataset: {type(data).__name__}.",
            "Give a registered name, a ganzoo.Dataset, a tensor of images, or a torch Dataset that has a length.",
        )
    found, classes = [], []
    for index in range(len(data)):
        item = data[index]
        image, *rest = item if isinstance(item, tuple | list) else (item,)
        found.append(_image(image))
        if rest and (isinstance(rest[0], int) or getattr(rest[0], "shape", None) == ()):
            classes.append(int(rest[0]))
    if len({image.shape for image in found}) > 1:
        raise GanzooError("The images of the dataset differ in size.", "Give images of one size.")
    labelled = len(classes) == len(found) and min(classes) >= 0
    names = getattr(data, "classes", None) or range(max(classes) + 1 if labelled else 0)
    kind = type(data).__name__
    return Dataset(
        kind.lower(),
        "train" if getattr(data, "train", False) else "test",
        torch.stack(found),
        torch.tensor(classes) if labelled else None,
        tuple(map(str, names)) if labelled else (),
        # torchvision's classes are called as our datasets are, but for the hyphens: FashionMNIST.
        world=re.sub(r"(?<=[a-z])(?=[A-Z])", "-", kind).lower(),
    )


def _image(given: Any) -> Tensor:
    """uint8 (c, h, w)."""
    import numpy as np

    image = given if isinstance(given, Tensor) else torch.from_numpy(np.array(given))
    if not isinstance(given, Tensor) and image.dim() == 3:
        image = image.permute(2, 0, 1)
    image = _levels(image[None] if image.dim() == 2 else image)
    if image.dtype != torch.uint8 or image.dim() != 3 or image.shape[0] not in (1, 3):
        raise GanzooError(
            f"The dataset gives images of type {str(image.dtype).removeprefix('torch.')} and shape "
            f"{tuple(image.shape)}.",
            "An image is uint8 (c, h, w) or (h, w), c being 1 or 3.",
        )
    return image


def _levels(images: Tensor) -> Tensor:
    """Floats in [0, 1] as the uint8 they were made from; anything else as it is."""
    if not images.is_floating_point():
        return images
    levels = (images * 255).round()
    if not bool(((levels - images * 255).abs() < 1e-3).all()) or levels.min() < 0 or levels.max() > 255:
        raise GanzooError(
            "The dataset's images are floats that are not 256 levels between 0 and 1.",
            "Leave out what normalises them: scores depend on the pixels as they are.",
        )
    return levels.to(torch.uint8)


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
    log(f"Streaming dataset '{dataset.name}': its {size / 2**30:.1f} GiB are more than half of the GPU's free memory.")
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
